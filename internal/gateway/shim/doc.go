// Package shim is the process that builds a captured command's namespaces and
// watches over it. It makes nothing of its own mind: an order says what to mount
// and what to send to the kernel, ready encoded, and the parent gets the sockets.
//
// The process is this same program executed again, and the package takes it over
// while the program initialises, before the packages that a shim has no use for:
// that saves more than half of its start. Hence it may import only what is light
// and initialised early: no os, no fmt, no net.
package shim

// Package shim is the process that builds a captured command's namespaces and
// watches over it. It makes nothing of its own mind: an order says what to mount
// and what to send to the kernel, ready encoded, and the parent gets the sockets.
//
// The process is this same program executed again, and the package takes it over
// while the program initialises, before the packages that a shim has no use for:
// that saves more than half of its start. Packages are initialised in the order of
// their paths, each after what it imports. Hence this one may import only what comes
// before almost everything: no os, no fmt, no golang.org/x (TestImports).
package shim

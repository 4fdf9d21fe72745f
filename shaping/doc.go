// Package shaping describes and applies link conditions. It restores what it found.
//
// Conditions is netem's vocabulary, Link both directions of it, a Book knows links by
// name. Apply puts a link in force on a Target and verifies it by reading back; Take does
// so under a lease, which a process of its own keeps. Lint explains what a kernel
// accepts and does otherwise. What it tries out in order to know what the kernel can do
// (Probe), it tries in a namespace that vanishes with its process.
//
// It does not decide when a link changes, and nothing in it knows of proxies.
package shaping

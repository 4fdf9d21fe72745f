// Package shaping describes link conditions and reads what a host's links have.
// It restores what it found.
//
// It reads only: it changes no link. What it tries out in order to know what the
// kernel can do (Probe), it tries in a namespace that vanishes with its process.
package shaping

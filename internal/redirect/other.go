//go:build !linux

package redirect

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
)

// missing is what other systems lack.
var missing = errors.New(runtime.GOOS + " does not tell whom a redirected connection was for: transparent doors are for Linux\nhint: --forward with proxy variables, or --reverse ADDR=URL")

// Door is a listener for connections that were made to others.
type Door struct {
	net.Listener
	TPROXY bool // never here
}

// Listen fails on this system.
func Listen(string) (*Door, error) { return nil, missing }

// Destination fails on this system.
func (d *Door) Destination(net.Conn) (netip.AddrPort, error) { return netip.AddrPort{}, missing }

// Lease is rules in force.
type Lease struct {
	Table  string
	Kernel bool
}

// Install fails on this system.
func (r Rules) Install() (*Lease, error) { return nil, missing }

// Leave fails on this system.
func (r Rules) Leave() error { return missing }

// Remove fails on this system.
func Remove() error { return missing }

// Close does nothing.
func (l *Lease) Close() error { return nil }

func mark(uintptr) {}

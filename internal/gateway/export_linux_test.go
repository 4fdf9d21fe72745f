package gateway

import "net/netip"

// Address is the address that stands for a name, which is made up if there is none yet.
func (g *Gateway) Address(host string) (addr netip.Addr, ok bool) { return g.c.names.Address(host) }

// Asks reports whether Options.Admission is asked: whether the kernel has NFQUEUE.
func (g *Gateway) Asks() bool { return g.c.asksFirst }

// PID is the command's process, 0 before it runs.
func (g *Gateway) PID() int { return g.c.commandPID() }

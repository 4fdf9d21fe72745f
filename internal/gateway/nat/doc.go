//go:build linux

// Package nat writes the nftables rules that lead a namespace's TCP to
// transparent sockets. It opens no socket but netlink's and knows no process.
package nat

// Ports of the transparent sockets, above the range that the kernel gives out
// by itself. Each is bound in a namespace of its own making, so nothing else
// can have it; a connection to such a port is caught like any other.
const (
	PortTCP      = 65501 // the gateway's, every address
	PortLocal    = 65502 // the command's loopback
	PortLocalDNS = 65503 // the same, for DNS over TCP and over UDP
)

// Marks of packets, seen within the two namespaces only.
const (
	MarkAdmitted = 0x75640001 // asked about, and admitted
	MarkOwn      = 0x75640002 // understudy's own, for a published port: never caught
)

// Queue is the number of the NFQUEUE in which connections wait for their verdict.
const Queue = 0

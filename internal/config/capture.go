package config

import (
	"net/netip"
	"strconv"
	"strings"
)

// Capture is how a command behind "--" is captured.
type Capture string

const (
	// CaptureAuto is CaptureNamespace where no listener is named and the machine
	// can, else CaptureProxy.
	CaptureAuto Capture = "auto"
	// CaptureNamespace puts the command into namespaces of its own: all its
	// traffic comes, whatever it knows of proxies.
	CaptureNamespace Capture = "namespace"
	// CaptureProxy sets variables that make most programs use a forward proxy.
	CaptureProxy Capture = "proxy"
)

// Publish makes a port of a captured command reachable from outside.
type Publish struct {
	On   netip.AddrPort // an address of the host; port 0 picks a free one
	Port uint16         // of the command
}

// parsePublish reads [ADDR:]PORT=PORT, or PORT for the same on both sides.
func parsePublish(s string) (Publish, *problem) {
	p := &problem{want: `HOST:PORT=PORT such as "127.0.0.1:8080=80"`}
	on, inside, pair := strings.Cut(s, "=")
	if !pair {
		inside = on
	}
	port, err := strconv.ParseUint(inside, 10, 16)
	if err != nil || port == 0 {
		p.hint = "behind = stands the port that the command listens on"
		return Publish{}, p
	}
	addr, bad := parseAddr(on)
	if bad != nil {
		return Publish{}, p
	}
	at, err := netip.ParseAddrPort(strings.Replace(addr, "localhost:", "127.0.0.1:", 1))
	if err != nil {
		p.hint = "the host is an address, not a name"
		return Publish{}, p
	}
	return Publish{On: at, Port: uint16(port)}, nil
}

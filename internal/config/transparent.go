package config

import (
	"net/netip"
	"strconv"
	"strings"
)

// Transparent says what is led to transparent listeners where understudy sets
// the rules itself.
type Transparent struct {
	InstallRules bool           `key:"transparent.install_rules"`
	Ports        []Ports        `key:"transparent.ports"`      // only these; empty for all
	SkipPorts    []Ports        `key:"transparent.skip_ports"` // but not these
	Skip         []netip.Prefix `key:"transparent.skip"`       // nor what goes to these
	SkipUIDs     []uint32       `key:"transparent.skip_uids"`  // nor what these users' processes do
}

// Ports is a range of ports, both ends included.
type Ports struct{ From, To uint16 }

// parsePorts reads a port, or FROM-TO.
func parsePorts(s string) (Ports, *problem) {
	p := &problem{want: `a port such as "443", or ports such as "8000-8999"`}
	first, last, pair := strings.Cut(s, "-")
	if !pair {
		last = first
	}
	if !isPort(first) || !isPort(last) {
		return Ports{}, p
	}
	from, _ := strconv.Atoi(first) // isPort says that it is a number
	to, _ := strconv.Atoi(last)
	switch {
	case from == 0:
		p.hint = "ports begin at 1"
		return Ports{}, p
	case from > to:
		p.hint = "the lower one comes first"
		return Ports{}, p
	}
	return Ports{From: uint16(from), To: uint16(to)}, nil
}

// parseNetwork reads an address, or a network such as 10.0.0.0/8.
func parseNetwork(s string) (netip.Prefix, *problem) {
	p := &problem{want: `a network such as "10.0.0.0/8", or an address`}
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	n, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		if isHostName(s) {
			p.hint = "rules of netfilter know no names"
		}
		return netip.Prefix{}, p
	case n.Addr().Is4In6():
		p.hint = "write IPv4 as IPv4"
		return netip.Prefix{}, p
	}
	return n.Masked(), nil
}

func parseUID(s string) (uint32, *problem) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 { // which is "no user"
		return 0, &problem{want: "a user's number, such as 65532", hint: "id -u NAME tells it"}
	}
	return uint32(n), nil
}

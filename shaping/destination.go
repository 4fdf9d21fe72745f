package shaping

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// Destination says which peers of a link's user are meant: a host, a network, ports, or
// a host or a network with ports. Two that are equal mean the same. The zero value is
// any peer.
type Destination struct {
	host    string       // in lower case; "" for any, "*.example.com" for all below it
	network netip.Prefix // zero for any
	// Ports, both inclusive; 0 for any.
	first, last uint16
}

const destinationHint = "such as db.internal, *.example.com, 10.0.0.0/8, :5432 or db.internal:5432"

// ParseDestination reads a destination:
//
//	db.internal   *.example.com   *        a name; all names below one; all there is
//	192.0.2.7     10.0.0.0/8   2001:db8::/32
//	:5432         :8000-8999               any host
//	db.internal:5432   10.0.0.0/8:443   [2001:db8::1]:443   [2001:db8::/32]:443
//
// The error is for people.
func ParseDestination(text string) (Destination, error) {
	var d Destination
	bad := func(hint string) (Destination, error) {
		if hint == "" {
			hint = destinationHint
		}
		return Destination{}, &problem{"want a host, a network or a port, got " + strconv.Quote(text), hint}
	}
	host, ports, hasPorts := cutPorts(text)
	switch {
	case strings.Contains(text, "://"):
		return bad("leave the scheme out")
	case host == "" && !hasPorts:
		return bad("")
	case hasPorts && !d.setPorts(ports):
		return bad("a port is a number from 1 to 65535, and of a range the lower one comes first")
	case host == "" || host == "*":
		return d, nil
	}
	if n, ok := parsePrefix(host); ok {
		d.network = n
		return d, nil
	}
	if strings.Trim(host, "0123456789.:/") == "" {
		if !strings.ContainsAny(host, ".:/") {
			return bad("a port alone is written :" + host)
		}
		return bad("")
	}
	name, below := strings.CutPrefix(host, "*.")
	name = strings.TrimSuffix(name, ".")
	if !isASCII(name) {
		if ascii, err := idna.Lookup.ToASCII(name); err == nil {
			name = ascii // as resolvers are asked for it
		}
	}
	if name = strings.ToLower(name); !isHostName(name) {
		if strings.Contains(host, "*") {
			return bad("a star stands alone or at the start, before a dot")
		}
		return bad("")
	}
	if d.host = name; below {
		d.host = "*." + name
	}
	return d, nil
}

// cutPorts takes ports off the end.
func cutPorts(text string) (host, ports string, has bool) {
	if rest, ok := strings.CutPrefix(text, "["); ok {
		host, rest, ok = strings.Cut(rest, "]")
		switch {
		case ok && rest == "":
			return host, "", false
		case ok && rest[0] == ':':
			return host, rest[1:], true
		}
		return text, "", false // no host has a bracket
	}
	if strings.Count(text, ":") > 1 {
		return text, "", false // of IPv6
	}
	return strings.Cut(text, ":")
}

// setPorts reads a port, or a range of them.
func (d *Destination) setPorts(text string) bool {
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	d.first, d.last = uint16(from), uint16(to)
	return err1 == nil && err2 == nil && from > 0 && from <= to
}

// parsePrefix reads a network, or an address as the network of it alone.
func parsePrefix(text string) (netip.Prefix, bool) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	n, err := netip.ParsePrefix(text)
	if err != nil || n.Addr().Is4In6() {
		return netip.Prefix{}, false
	}
	return n.Masked(), true
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// isHostName takes letters, digits, '-' and '_': what resolvers take, rather than what
// RFC 1123 says.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// Matches reports whether a peer is meant: its address, its port, 0 for none, and the
// name that its user calls it by, in lower case, "" for none.
func (d Destination) Matches(addr netip.Addr, port uint16, name string) bool {
	if d.first > 0 && (port < d.first || port > d.last) {
		return false
	}
	if d.network.IsValid() {
		return d.network.Contains(addr.Unmap())
	}
	if below, ok := strings.CutPrefix(d.host, "*"); ok {
		return len(name) > len(below) && strings.HasSuffix(name, below)
	}
	return d.host == "" || d.host == name
}

// Named reports whether a name is needed to tell.
func (d Destination) Named() bool { return d.host != "" }

// String is d as ParseDestination reads it.
func (d Destination) String() string {
	host := d.host
	if d.network.IsValid() {
		host = d.network.String()
		if d.network.IsSingleIP() {
			host = d.network.Addr().String()
		}
	}
	if d.first == 0 {
		if host == "" {
			return "*"
		}
		return host
	}
	if d.network.IsValid() && d.network.Addr().Is6() {
		host = "[" + host + "]"
	}
	ports := strconv.Itoa(int(d.first))
	if d.last > d.first {
		ports += "-" + strconv.Itoa(int(d.last))
	}
	return host + ":" + ports
}

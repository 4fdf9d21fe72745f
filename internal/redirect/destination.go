package redirect

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// DirectError says that a connection was made to the door itself: nobody else
// was meant, and to pass it on would be to go round for ever.
type DirectError struct {
	To netip.AddrPort // the door's own address
}

// Error says what came and what is wanted.
func (e *DirectError) Error() string {
	return fmt.Sprintf("connected to %s itself, which takes only what nft or iptables redirect to it: set rules (--install-rules), or use --forward", e.To)
}

// destination judges what the kernel says of a connection: the address that
// connection tracking remembers, not valid where it remembers none, and the
// socket's own. own are this machine's addresses.
//
// Source: with REDIRECT original differs from local, which is the door's; with
// TPROXY both are whom the client meant; with neither both are the door's.
func destination(original, local, door netip.AddrPort, own func() ([]netip.Addr, error)) (netip.AddrPort, error) {
	to := plain(local)
	if original.IsValid() {
		to = plain(original)
	}
	door = plain(door)
	if to.Port() != door.Port() {
		return to, nil
	}
	// The port alone proves nothing: others' machines have it, too.
	at := to.Addr().WithZone("")
	here := at == door.Addr() || door.Addr().IsUnspecified() && at.IsLoopback()
	if !here && door.Addr().IsUnspecified() {
		addrs, err := own()
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("this machine's addresses: %w", err)
		}
		here = slices.Contains(addrs, at)
	}
	if here {
		return netip.AddrPort{}, &DirectError{To: to}
	}
	return to, nil
}

// plain is an address without the clothes of IPv6 that a socket for both
// families gives to IPv4.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// addresses are this machine's, without zones.
func addresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.Addr, 0, len(all))
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				addrs = append(addrs, addr.Unmap())
			}
		}
	}
	return addrs, nil
}

// addrPort is a TCP address's; not valid for others.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return plain(t.AddrPort())
	}
	return netip.AddrPort{}
}

package redirect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Door is a listener for connections that were made to others.
type Door struct {
	net.Listener
	// TPROXY is whether it takes what TPROXY leads here, too: that needs
	// CAP_NET_ADMIN. REDIRECT needs nothing.
	TPROXY bool
}

// Listen opens a door at addr, host:port.
func Listen(addr string) (*Door, error) {
	d := &Door{}
	lc := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { d.TPROXY = transparent(int(fd), network) == nil })
	}}
	// A multipath socket does not tell the original destination.
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	d.Listener = ln
	return d, nil
}

// transparent lets a socket have addresses that are not this machine's. A socket
// of IPv6 takes IPv4 with the same.
func transparent(fd int, network string) error {
	if network == "tcp6" {
		return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
	}
	return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
}

// Destination tells whom an accepted connection was for. The error is a
// *DirectError where it was for the door itself.
func (d *Door) Destination(nc net.Conn) (netip.AddrPort, error) {
	local := addrPort(nc.LocalAddr())
	if !local.IsValid() {
		return netip.AddrPort{}, fmt.Errorf("%s is no TCP address", nc.LocalAddr())
	}
	before, err := original(nc, local.Addr().Is6())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("original destination: %w", err)
	}
	return destination(before, local, addrPort(d.Addr()), addresses)
}

// originalDst is SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST, which are the same.
// Source: linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h.
const originalDst = unix.SO_ORIGINAL_DST

// original is what connection tracking says that the connection was made to. It
// is not valid where there is no tracking, or it does not know this connection:
// then nothing was translated.
func original(nc net.Conn, ipv6 bool) (to netip.AddrPort, err error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return to, fmt.Errorf("%T has no socket", nc)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return to, err
	}
	cerr := raw.Control(func(fd uintptr) { to, err = originalOf(int(fd), ipv6) })
	switch {
	case cerr != nil:
		return to, cerr
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOPROTOOPT), errors.Is(err, unix.EOPNOTSUPP):
		return netip.AddrPort{}, nil
	}
	return to, err
}

// originalOf asks for a struct sockaddr_in or sockaddr_in6. The package unix has
// no call for these; the two that it has for structs with the same beginning and
// no less room do.
func originalOf(fd int, ipv6 bool) (netip.AddrPort, error) {
	if ipv6 {
		got, err := unix.GetsockoptIPv6MTUInfo(fd, unix.SOL_IPV6, originalDst)
		if err != nil {
			return netip.AddrPort{}, err
		}
		addr := netip.AddrFrom16(got.Addr.Addr)
		if got.Addr.Scope_id != 0 {
			addr = addr.WithZone(strconv.FormatUint(uint64(got.Addr.Scope_id), 10))
		}
		return netip.AddrPortFrom(addr, networkOrder(got.Addr.Port)), nil
	}
	got, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, originalDst)
	if err != nil {
		return netip.AddrPort{}, err
	}
	// sin_family, sin_port, sin_addr: 2, 2 and 4 bytes, the last two as on the wire.
	b := got.Multiaddr
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[2])<<8|uint16(b[3])), nil
}

// networkOrder reads a port that stands in memory as on the wire.
func networkOrder(port uint16) uint16 {
	b := [2]byte{}
	binary.NativeEndian.PutUint16(b[:], port)
	return uint16(b[0])<<8 | uint16(b[1])
}

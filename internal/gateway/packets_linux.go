package gateway

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway/shim"
)

// answerPackets answers the questions that come to one UDP socket until it is
// closed. What was sent to a resolver on the command's loopback is answered
// through a raw socket: the resolver's port may not be bound there, the command
// might want it.
func (c *capture) answerPackets(conn *net.UDPConn, r shim.Role) {
	inside := r == shim.LocalDNS4 || r == shim.LocalDNS6
	ipv6 := r.IPv6()
	buf, oob := make([]byte, 4096), make([]byte, 256)
	for {
		n, oobn, _, from, err := conn.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			return
		}
		to, ok := sentTo(oob[:oobn])
		if !ok {
			continue
		}
		message := append([]byte(nil), buf[:n]...)
		reply := func() {
			answer := c.answerer.Answer(c.ctx, message, to, false)
			switch {
			case answer == nil:
			case inside:
				c.replyInside(answer, netip.AddrPortFrom(to, 53), from, ipv6)
			default:
				_, _, _ = conn.WriteMsgUDPAddrPort(answer, sentFrom(to), from)
			}
		}
		if c.answerer.Decide == nil {
			reply()
			continue
		}
		c.serving.Go(reply) // deciding may take its time
	}
}

// sentTo finds a datagram's destination among the control messages.
func sentTo(oob []byte) (to netip.Addr, ok bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return to, false
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(m.Data[8:12])), true // ipi_addr, the header's
		case m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(m.Data[:16])), true
		}
	}
	return to, false
}

// sentFrom is the control message that sends a datagram in an address's name.
func sentFrom(from netip.Addr) []byte {
	if from.Is4() {
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: from.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: from.As16()})
}

// replyInside sends a datagram on the command's loopback, headers and all.
func (c *capture) replyInside(payload []byte, from, to netip.AddrPort, ipv6 bool) {
	f, datagram := c.files[shim.LocalReply4], udpDatagram(payload, from, to)
	var dest unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if ipv6 {
		f, dest = c.files[shim.LocalReply6], &unix.SockaddrInet6{Addr: to.Addr().As16()}
	} else {
		dest = &unix.SockaddrInet4{Addr: to.Addr().Unmap().As4()}
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.Sendto(int(fd), datagram, 0, dest) })
}

// Header sizes and their fixed fields.
const (
	ip4Header, ip6Header, udpHeader = 20, 40, 8
	hops                            = 64
)

// udpDatagram writes an IP packet with a UDP datagram. The kernel fills in IPv4's
// checksum; UDP's is required for IPv6 and written for both.
func udpDatagram(payload []byte, from, to netip.AddrPort) []byte {
	size := udpHeader + len(payload)
	udp := make([]byte, 0, size)
	udp = binary.BigEndian.AppendUint16(udp, from.Port())
	udp = binary.BigEndian.AppendUint16(udp, to.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(size))
	udp = append(append(udp, 0, 0), payload...)
	src, dst := from.Addr().Unmap().AsSlice(), to.Addr().Unmap().AsSlice()
	sum := checksum(append(append(append([]byte{}, src...), dst...), 0, unix.IPPROTO_UDP, byte(size>>8), byte(size)), udp)
	if sum == 0 {
		sum = 0xffff // 0 would say that there is none
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	if len(src) == net.IPv4len {
		head := []byte{0x45, 0, byte((ip4Header + size) >> 8), byte(ip4Header + size), 0, 0, 0, 0, hops, unix.IPPROTO_UDP, 0, 0}
		return append(append(append(head, src...), dst...), udp...)
	}
	head := []byte{0x60, 0, 0, 0, byte(size >> 8), byte(size), unix.IPPROTO_UDP, hops}
	return append(append(append(head, src...), dst...), udp...)
}

// checksum is the internet checksum over parts; all but the last have an even length.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for ; len(p) > 1; p = p[2:] {
			sum += uint32(p[0])<<8 | uint32(p[1])
		}
		if len(p) == 1 {
			sum += uint32(p[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// countRefused books the UDP that arrives and is for no DNS server, until the socket is
// closed: with nobody listening the kernel refuses it at once (ICMP port unreachable), and
// the raw socket sees it before.
func (c *capture) countRefused(f *os.File, ipv6 bool) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		for c.books.read(int(fd), ipv6) {
		}
		return false
	})
}

// refusedUDP tells of all that has arrived, also where countRefused has not come to it.
func (c *capture) refusedUDP() []RefusedUDP {
	for _, r := range []shim.Role{shim.UDP4, shim.UDP6} {
		if f := c.files[r]; f != nil {
			if raw, err := f.SyscallConn(); err == nil {
				_ = raw.Control(func(fd uintptr) { c.books.read(int(fd), r.IPv6()) })
			}
		}
	}
	c.books.mu.Lock()
	defer c.books.mu.Unlock()
	all := make([]RefusedUDP, 0, len(c.books.counts))
	for to, n := range c.books.counts {
		host, _ := c.name(to.Addr())
		all = append(all, RefusedUDP{To: to, Host: host, Datagrams: n})
	}
	slices.SortFunc(all, func(a, b RefusedUDP) int { return a.To.Compare(b.To) })
	return all
}

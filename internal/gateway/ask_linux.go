package gateway

import (
	"encoding/binary"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway/nat"
)

// NFQUEUE's messages and attributes. Source: linux/netfilter/nfnetlink_queue.h.
const (
	nfqPacket  = unix.NFNL_SUBSYS_QUEUE << 8
	nfqVerdict = unix.NFNL_SUBSYS_QUEUE<<8 | 1
	nfqConfig  = unix.NFNL_SUBSYS_QUEUE<<8 | 2

	nfqaPacketHeader, nfqaVerdict, nfqaMark, nfqaPayload = 1, 2, 3, 10
	nfqaConfigCommand, nfqaConfigParams, nfqaConfigMax   = 1, 2, 3
	nfqCommandBind, nfqCopyPacket                        = 1, 2

	verdictDrop, verdictAccept = 0, 1

	// copied is what of a packet is needed: the addresses and ports.
	copied = 128
	// waiting is how many connections may wait for their verdict. The kernel drops
	// what comes beyond; the client tries again a second later.
	waiting = 8192
)

// subscribeQueue is the message that makes its sender decide about what waits in a
// queue of its socket's namespace.
func subscribeQueue(number uint16) []byte {
	params := append(binary.BigEndian.AppendUint32(nil, copied), nfqCopyPacket)
	return queueMessage(nfqConfig, unix.NLM_F_REQUEST|unix.NLM_F_ACK, number,
		attribute(nfqaConfigCommand, []byte{nfqCommandBind, 0, 0, 0}),
		attribute(nfqaConfigParams, params),
		attribute(nfqaConfigMax, binary.BigEndian.AppendUint32(nil, waiting)))
}

func attribute(kind uint16, data []byte) []byte {
	out := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	out = append(binary.NativeEndian.AppendUint16(out, kind), data...)
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	return out
}

func queueMessage(kind, flags int, queue uint16, attributes ...[]byte) []byte {
	size := unix.NLMSG_HDRLEN + 4
	for _, a := range attributes {
		size += len(a)
	}
	out := binary.NativeEndian.AppendUint32(nil, uint32(size))
	out = binary.NativeEndian.AppendUint16(out, uint16(kind))
	out = binary.NativeEndian.AppendUint16(out, uint16(flags))
	out = append(out, 0, 0, 0, 0, 0, 0, 0, 0) // sequence, port
	out = append(out, unix.AF_UNSPEC, 0)      // struct nfgenmsg
	out = binary.BigEndian.AppendUint16(out, queue)
	for _, a := range attributes {
		out = append(out, a...)
	}
	return out
}

// admit decides about each connection that waits in a queue until its socket is
// closed.
func (c *capture) admit(f *os.File, decide decider) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 64<<10)
	for {
		var n int
		var got error
		err := raw.Read(func(fd uintptr) bool {
			n, _, got = unix.Recvfrom(int(fd), buf, 0)
			return got != unix.EAGAIN
		})
		if err != nil {
			return
		}
		if got != nil {
			continue // ENOBUFS: some were dropped, and come again
		}
		eachQueued(buf[:n], func(id uint32, conn Connection) {
			conn.Host, _ = c.name(conn.To.Addr())
			conn.Loopback = conn.To.Addr().IsLoopback()
			c.serving.Go(func() { // deciding may take its time
				verdict := verdictMessage(id, decide(c.ctx, conn))
				_ = raw.Control(func(fd uintptr) {
					_ = unix.Sendto(int(fd), verdict, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
				})
			})
		})
	}
}

// verdictMessage admits by a mark, for which the next rules look, and refuses by
// its absence: then the kernel finds no listener and says so.
func verdictMessage(id uint32, a Admission) []byte {
	verdict, mark := uint32(verdictAccept), uint32(0)
	switch a {
	case Admit:
		mark = nat.MarkAdmitted
	case Ignore:
		verdict = verdictDrop
	}
	return queueMessage(nfqVerdict, unix.NLM_F_REQUEST, nat.Queue,
		attribute(nfqaVerdict, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, verdict), id)),
		attribute(nfqaMark, binary.BigEndian.AppendUint32(nil, mark)))
}

// eachQueued reads the packets in a netlink datagram. What is not understood is
// left out: the kernel keeps it until the queue goes.
func eachQueued(b []byte, do func(id uint32, conn Connection)) {
	for len(b) >= unix.NLMSG_HDRLEN+4 {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN+4 || size > len(b) {
			return
		}
		if binary.NativeEndian.Uint16(b[4:]) == nfqPacket {
			if id, packet, ok := queuedPacket(b[unix.NLMSG_HDRLEN+4 : size]); ok {
				if conn, ok := connectionOf(packet); ok {
					do(id, conn)
				}
			}
		}
		b = b[min((size+3)&^3, len(b)):]
	}
}

func queuedPacket(attributes []byte) (id uint32, packet []byte, ok bool) {
	for len(attributes) >= 4 {
		size, kind := int(binary.NativeEndian.Uint16(attributes)), binary.NativeEndian.Uint16(attributes[2:])&0x3fff
		if size < 4 || size > len(attributes) {
			return 0, nil, false
		}
		data := attributes[4:size]
		switch {
		case kind == nfqaPacketHeader && len(data) >= 4:
			id, ok = binary.BigEndian.Uint32(data), true
		case kind == nfqaPayload:
			packet = data
		}
		attributes = attributes[min((size+3)&^3, len(attributes)):]
	}
	return id, packet, ok && packet != nil
}

// connectionOf reads the ends of a connection from an IP packet with a TCP header.
func connectionOf(p []byte) (conn Connection, ok bool) {
	var from, to netip.Addr
	var tcp []byte
	switch {
	case len(p) >= ip4Header && p[0]>>4 == 4:
		size := int(p[0]&15) * 4
		if size < ip4Header || size > len(p) {
			return conn, false
		}
		from, to, tcp = netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20])), p[size:]
	case len(p) >= ip6Header && p[0]>>4 == 6 && p[6] == unix.IPPROTO_TCP:
		from, to, tcp = netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40])), p[ip6Header:]
	}
	if len(tcp) < 4 {
		return conn, false
	}
	conn.From = netip.AddrPortFrom(from, binary.BigEndian.Uint16(tcp))
	conn.To = netip.AddrPortFrom(to, binary.BigEndian.Uint16(tcp[2:]))
	return conn, true
}

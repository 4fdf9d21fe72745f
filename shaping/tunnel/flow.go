package tunnel

import (
	"encoding/binary"
	"net/netip"
)

// Flow is a TCP connection as its packets have it: the end up, whose link it is, and the
// peer, whatever it was called.
type Flow struct{ User, Peer netip.AddrPort }

// flow is what tells the packets of one flow from others. A link has one user, so that
// the peer and both ports do.
type flow struct {
	peer               [16]byte // IPv4 mapped
	peerPort, userPort uint16   // 0 where the protocol has none, or they are not seen
	proto              uint8
}

func (f Flow) key() flow {
	return flow{f.Peer.Addr().As16(), f.Peer.Port(), f.User.Port(), protoTCP}
}

func (k flow) addr() netip.Addr { return netip.AddrFrom16(k.peer).Unmap() }

const (
	protoICMP = 1
	protoUDP  = 17
	// Of IPv6, what may stand before the transport. Source: RFC 8200, 4.
	hopByHop, routing, fragment, destinations = 0, 43, 44, 60
	flagSYN                                   = 0x02
)

// flow is that of a frame whose sender is the user, or the peer; begins is set for the
// packets that begin a TCP connection. It is not ok where it is no IP packet.
func (f *frame) flow(fromUser bool) (k flow, begins, ok bool) {
	if len(f.data) < packetAt {
		return k, false, false
	}
	b := f.data[packetAt:]
	var from, to []byte
	var at int
	var first bool // the transport begins in this packet, where at says
	switch {
	case f.ethertype == etherIPv4 && len(b) >= 20:
		from, to, at, k.proto = b[12:16], b[16:20], int(b[0]&15)*4, b[9]
		first = binary.BigEndian.Uint16(b[6:])&0x1fff == 0
	case f.ethertype == etherIPv6 && len(b) >= ipv6Size:
		from, to = b[8:24], b[24:40]
		k.proto, at, first = transport6(b)
	default:
		return k, false, false
	}
	peer := from
	if fromUser {
		peer = to
	}
	if len(peer) == 4 {
		k.peer = [16]byte{10: 0xff, 11: 0xff}
		copy(k.peer[12:], peer)
	} else {
		copy(k.peer[:], peer)
	}
	if (k.proto != protoTCP && k.proto != protoUDP) || !first || len(b) < at+4 {
		return k, false, true
	}
	k.peerPort, k.userPort = binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(b[at+2:])
	if fromUser {
		k.peerPort, k.userPort = k.userPort, k.peerPort
	}
	return k, k.proto == protoTCP && len(b) > at+13 && b[at+13]&flagSYN != 0, true
}

// transport6 passes by what stands before an IPv6 packet's transport.
func transport6(b []byte) (proto uint8, at int, first bool) {
	proto, at, first = b[6], ipv6Size, true
	for range 8 { // more do not come
		if len(b) < at+8 {
			break
		}
		switch proto {
		case hopByHop, routing, destinations:
			proto, at = b[at], at+8*(1+int(b[at+1]))
		case fragment:
			first = first && binary.BigEndian.Uint16(b[at+2:])&0xfff8 == 0
			proto, at = b[at], at+8
		default:
			return proto, at, first
		}
	}
	return proto, at, first
}

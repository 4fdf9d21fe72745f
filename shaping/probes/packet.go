package probes

import (
	"encoding/binary"
)

// packet is a probe: an ICMP echo reply that nobody has asked for, which a kernel drops
// after raw sockets have seen it.
type packet struct {
	token  uint64 // of the run and its direction
	train  bool   // it is one of the large ones
	number uint32
}

const (
	// Source: RFC 792; an IPv4 header without options, type, code, checksum, identifier,
	// number.
	ipHeader   = 20
	icmpHeader = 8
	echoReply  = 0
	// shortest is a packet without the IP header that holds all of the above.
	shortest = icmpHeader + 8 + 4 + 1
)

// encode writes p into b, all of it, as it goes into a raw socket.
func (p packet) encode(b []byte) {
	clear(b)
	b[0] = echoReply
	binary.BigEndian.PutUint16(b[4:], uint16(p.token))
	binary.BigEndian.PutUint16(b[6:], uint16(p.number))
	binary.BigEndian.PutUint64(b[icmpHeader:], p.token)
	binary.BigEndian.PutUint32(b[icmpHeader+8:], p.number)
	if p.train {
		b[icmpHeader+12] = 1
	}
	binary.BigEndian.PutUint16(b[2:], ^sum(b))
}

// decode reads a packet as it comes from a raw socket, with its IP header; size counts
// that. It is not ok for any other packet, and where a bit has flipped.
func decode(b []byte) (p packet, size int, ok bool) {
	if len(b) < ipHeader || b[0]>>4 != 4 {
		return p, 0, false
	}
	size = len(b)
	header := int(b[0]&15) * 4
	if header < ipHeader || len(b) < header+shortest {
		return p, 0, false
	}
	b = b[header:]
	if b[0] != echoReply || b[1] != 0 || sum(b) != 0xffff || b[icmpHeader+12] > 1 {
		return p, 0, false
	}
	p.token = binary.BigEndian.Uint64(b[icmpHeader:])
	p.number = binary.BigEndian.Uint32(b[icmpHeader+8:])
	p.train = b[icmpHeader+12] == 1
	return p, size, true
}

// sum is the internet's checksum, not inverted. Source: RFC 1071.
func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

package tunnel

import "encoding/binary"

// A frame as the ends give and take it: a virtio_net_hdr, an Ethernet header, a packet.
// Source: linux/virtio_net.h; the header is in the machine's order of bytes.
const (
	virtioHeader   = 10
	ethernetHeader = 14
	packetAt       = virtioHeader + ethernetHeader

	needsChecksum = 1 // in flags: the transport's checksum is for a device to make
	gsoNone       = 0
	gsoTCP4       = 1
	gsoTCP6       = 4
	gsoECN        = 0x80 // with one of the two: CWR is for the first segment alone

	flagsAt, gsoTypeAt, headerLenAt, gsoSizeAt, checksumFromAt, checksumToAt = 0, 1, 2, 4, 6, 8
)

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	ipv6Size  = 40
	protoTCP  = 6
	leastTCP  = 20
)

// frame is one read: a packet, or several of one TCP connection that the kernel left in
// one piece for a device to cut.
type frame struct {
	data []byte
	refs int // packets of it that are held

	ethertype uint16
	transport int // where TCP begins, where it is to be cut
	payload   int // where TCP's payload begins
	mss       int // bytes of payload in each segment but the last; 0 where it is one packet
	segments  int
}

var native = binary.NativeEndian

// parse looks at data, which stays the caller's.
func (f *frame) parse() {
	f.ethertype, f.mss, f.segments = 0, 0, 1
	b := f.data
	if len(b) < packetAt {
		return
	}
	f.ethertype = binary.BigEndian.Uint16(b[virtioHeader+12:])
	kind, size := b[gsoTypeAt]&^gsoECN, int(native.Uint16(b[gsoSizeAt:]))
	least := 0
	switch {
	case kind == gsoTCP4 && f.ethertype == etherIPv4:
		least = 20
	case kind == gsoTCP6 && f.ethertype == etherIPv6:
		least = ipv6Size
	default:
		return
	}
	f.transport = virtioHeader + int(native.Uint16(b[checksumFromAt:]))
	if size == 0 || b[flagsAt]&needsChecksum == 0 || f.transport < packetAt+least || f.transport+leastTCP > len(b) {
		return
	}
	f.payload = f.transport + int(b[f.transport+12]>>4)*4
	if f.payload < f.transport+leastTCP || f.payload >= len(b) || f.payload > most {
		return
	}
	f.mss = size
	f.segments = (len(b) - f.payload + size - 1) / size
}

// size is the bytes of the i-th segment as they would be on Ethernet.
func (f *frame) size(i int) int {
	if f.mss == 0 {
		return max(len(f.data)-virtioHeader, 0)
	}
	return f.payload - virtioHeader + min(f.mss, len(f.data)-f.payload-i*f.mss)
}

// bytes is what all segments come to.
func (f *frame) bytes() int {
	return len(f.data) - virtioHeader + (f.segments-1)*(f.payload-virtioHeader)
}

// marks reports whether the packet supports ECN, or is marked already.
func (f *frame) marks() bool {
	switch {
	case f.ethertype == etherIPv4 && len(f.data) >= packetAt+20:
		return f.data[packetAt+1]&3 != 0
	case f.ethertype == etherIPv6 && len(f.data) >= packetAt+ipv6Size:
		return f.data[packetAt+1]>>4&3 != 0
	}
	return false
}

// most is the longest head: the headers of virtio, Ethernet, IP with its options and
// extensions, TCP.
const most = 512

// cut returns segments i to j, without j, as a frame: its head, made in room of most
// bytes, and the rest, which stays f's. Where it is all of f the head is f's too.
func (f *frame) cut(i, j int, room []byte) (head, rest []byte) {
	if f.mss == 0 || i == 0 && j == f.segments {
		return f.data, nil
	}
	head = room[:copy(room, f.data[:f.payload])]
	rest = f.data[f.payload+i*f.mss : min(f.payload+j*f.mss, len(f.data))]
	if len(rest) <= f.mss {
		head[gsoTypeAt] = gsoNone
		native.PutUint16(head[gsoSizeAt:], 0)
	} else if i > 0 {
		head[gsoTypeAt] &^= gsoECN
	}
	native.PutUint16(head[headerLenAt:], uint16(f.payload-virtioHeader))
	tcp := head[f.transport:]
	binary.BigEndian.PutUint32(tcp[4:], binary.BigEndian.Uint32(tcp[4:])+uint32(i*f.mss))
	const fin, psh, cwr = 0x01, 0x08, 0x80
	if j < f.segments {
		tcp[13] &^= fin | psh
	}
	if i > 0 {
		tcp[13] &^= cwr
	}
	ip := head[packetAt:f.transport]
	length := len(head) - f.transport + len(rest)
	var addresses []byte
	if f.ethertype == etherIPv4 {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+length))
		binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(i))
		sumIPv4(ip)
		addresses = ip[12:20]
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6Size+length))
		addresses = ip[8:40]
	}
	// What a device completes: the sum of the pseudo-header, not inverted.
	binary.BigEndian.PutUint16(tcp[16:], fold(sum(sum(0, addresses)+protoTCP+uint64(length), nil)))
	return head, rest
}

// mark says in a head that congestion was experienced.
func mark(head []byte, ethertype uint16) {
	switch {
	case ethertype == etherIPv4 && len(head) >= packetAt+20:
		ip := head[packetAt:]
		ip[1] |= 3
		if n := int(ip[0]&15) * 4; n >= 20 && n <= len(ip) {
			sumIPv4(ip[:n])
		}
	case ethertype == etherIPv6 && len(head) >= packetAt+ipv6Size:
		head[packetAt+1] |= 3 << 4
	}
}

// damage flips a bit of the packet in a whole frame. Its checksum is made before, so that
// the receiver sees that it does not fit.
func damage(b []byte, bit uint64) {
	if len(b) <= packetAt {
		return
	}
	if b[flagsAt]&needsChecksum != 0 {
		from := virtioHeader + int(native.Uint16(b[checksumFromAt:]))
		to := from + int(native.Uint16(b[checksumToAt:]))
		if to+2 <= len(b) {
			binary.BigEndian.PutUint16(b[to:], ^fold(sum(0, b[from:])))
		}
		b[flagsAt] &^= needsChecksum
	}
	bit %= uint64(len(b)-packetAt) * 8
	b[packetAt+int(bit/8)] ^= 1 << (bit % 8)
}

// sumIPv4 makes the checksum of an IPv4 header.
func sumIPv4(ip []byte) {
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum(0, ip)))
}

// sum adds words of 16 bits to s, as the internet's checksum does. Source: RFC 1071.
func sum(s uint64, b []byte) uint64 {
	for ; len(b) >= 4; b = b[4:] {
		s += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

// fold brings a sum down to 16 bits.
func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

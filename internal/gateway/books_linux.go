package gateway

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// maxRefused is how many destinations are told apart.
const maxRefused = 512

// udpBooks count refused datagrams by destination.
type udpBooks struct {
	mu     sync.Mutex // held while a socket is read, too: what was read is booked
	counts map[netip.AddrPort]uint64
}

// add books a datagram.
func (b *udpBooks) add(to netip.AddrPort) {
	if b.counts == nil {
		b.counts = map[netip.AddrPort]uint64{}
	}
	if _, ok := b.counts[to]; !ok && len(b.counts) >= maxRefused {
		to = netip.AddrPort{}
	}
	b.counts[to]++
}

// piece is how many datagrams are read at once: more than a socket holds.
const piece = 1024

// read books what a raw socket has seen so far, and reports whether there may be more.
func (b *udpBooks) read(fd int, ipv6 bool) (more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	buf, oob := make([]byte, 128), make([]byte, 256)
	for range piece {
		n, oobn, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_DONTWAIT)
		switch err {
		case nil:
		case unix.EAGAIN:
			return false
		default:
			continue // the socket has told of an error, and forgotten it
		}
		head := buf[:n]
		if !ipv6 && n > 0 { // IPv4 alone comes with its header
			head = head[min(int(head[0]&15)*4, n):]
		}
		to, ok := sentTo(oob[:oobn])
		if !ok || len(head) < udpHeader || to.IsMulticast() {
			continue
		}
		if port := binary.BigEndian.Uint16(head[2:]); port != 53 {
			b.add(netip.AddrPortFrom(to, port))
		}
	}
	return true
}

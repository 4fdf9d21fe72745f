//go:build linux || darwin || freebsd || netbsd || openbsd

package http1

import (
	"net"
	"syscall"

	"github.com/understudy-proxy/understudy/proxy/sock"
)

// peeker looks at a socket without taking anything from it, or waiting.
type peeker struct {
	raw  syscall.RawConn // nil where there is no socket
	tls  bool
	look func(fd uintptr) bool
	n    int
	err  error
	head [8]byte
}

func newPeeker(nc net.Conn) *peeker {
	p := &peeker{}
	t := tcpOf(nc)
	if t == nil {
		return p
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return p // closed: the first use will tell
	}
	p.raw, p.tls = raw, true
	switch nc.(type) {
	case *net.TCPConn, *sock.Conn:
		p.tls = false
	}
	// Made once: a look costs no allocation.
	p.look = func(fd uintptr) bool {
		p.n, _, p.err = syscall.Recvfrom(int(fd), p.head[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	}
	return p
}

// stale reports whether the peer ended the connection or sent unasked bytes.
func (p *peeker) stale() bool {
	if p.raw == nil {
		return false
	}
	if err := p.raw.Read(p.look); err != nil {
		return true
	}
	switch {
	case p.err == syscall.EAGAIN || p.err == syscall.EINTR:
		return false
	case p.err != nil || p.n == 0:
		return true
	case !p.tls:
		return true
	}
	// Under TLS session tickets may wait to be read, which is fine; an alert is
	// not. In TLS 1.3 alerts are dressed as data, and told by their length: two
	// bytes, a type, and a tag of 16.
	return p.n < 5 || p.head[0] == 21 || p.head[0] == 23 && p.head[3] == 0 && p.head[4] <= 19
}

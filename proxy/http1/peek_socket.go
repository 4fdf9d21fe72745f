//go:build darwin || freebsd || netbsd || openbsd

package http1

import (
	"net"
	"syscall"
)

// peeker looks at a socket without taking anything from it, or waiting.
type peeker struct {
	raw  syscall.RawConn // nil where there is no socket
	look func(fd uintptr)
	err  error
	one  [1]byte
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
	p.raw = raw
	// Made once.
	p.look = func(fd uintptr) {
		_, _, p.err = syscall.Recvfrom(int(fd), p.one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
	return p
}

// stale reports whether the peer ended the connection or sent unasked bytes.
func (p *peeker) stale() bool {
	if p.raw == nil {
		return false
	}
	return p.raw.Control(p.look) != nil || p.err != syscall.EAGAIN && p.err != syscall.EINTR
}

package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/proxy/sock"
)

// pass carries a connection's bytes to addr unread. p is what they are, as far
// as it is known.
func (s *session) pass(ctx context.Context, nc net.Conn, addr string, p protocol) {
	up, err := s.dial(ctx, addr)
	if err != nil {
		s.undialled(addr, p, err)
		sock.Reset(nc)
		return
	}
	s.carry(ctx, nc, up, addr, p)
}

func (s *session) dial(ctx context.Context, addr string) (net.Conn, error) {
	if s.Dial != nil {
		return s.Dial(ctx, "tcp", addr)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return s.dialer.DialContext(ctx, "tcp", addr)
}

func (s *session) undialled(addr string, p protocol, err error) {
	s.end = ConnEnd{Fate: ConnDropped, Host: addr, Protocol: string(p), Reason: err.Error()}
	s.log.Warn("upstream", zap.String("door", s.name), zap.Error(err))
}

// carry passes bytes both ways until both sides have ended.
func (s *session) carry(ctx context.Context, nc, up net.Conn, addr string, p protocol) {
	if p == protoNothing {
		p = protoRaw
		nc = &firstConn{Conn: nc, first: func(b []byte) {
			if b[0] == 0x16 { // TLS handshake record (RFC 8446, 5.1)
				p = protoTLS
			}
		}}
	}
	in, out, err := tunnel(ctx, nc, up)
	s.end = ConnEnd{Fate: ConnPassed, Host: addr, Protocol: string(p), BytesIn: in, BytesOut: out}
	if err != nil && !isDisconnect(err) && ctx.Err() == nil {
		s.end.Reason = err.Error()
	}
}

// firstConn shows the first bytes that are read from a connection.
type firstConn struct {
	net.Conn
	first func(b []byte)
}

// tunnel carries bytes both ways until both sides have ended, passing
// half-close on, and closes both. It returns the bytes from a, the bytes from
// b, and the first error that was no ordinary end. When ctx ends it breaks off.
func tunnel(ctx context.Context, a, b net.Conn) (fromA, fromB int64, err error) {
	breakOff := func() {
		_ = a.SetDeadline(time.Unix(1, 0))
		_ = b.SetDeadline(time.Unix(1, 0))
	}
	stop := context.AfterFunc(ctx, breakOff)
	defer stop()
	ends := make(chan error, 2) // the first failure is the cause
	way := func(n *int64, dst, src net.Conn) {
		var err error
		if *n, err = pass(dst, src); err != nil { // the other way cannot succeed any more
			ends <- err
			breakOff()
			return
		}
		ends <- nil
	}
	go way(&fromB, a, b) // ends with its copy, which the other way's failure or ctx ends
	way(&fromA, b, a)
	err, second := <-ends, <-ends
	if err == nil {
		err = second // else the first end is the one to tell
	}
	_ = a.Close()
	_ = b.Close()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fromA, fromB, err
}

// pass copies src to dst to its end and half-closes dst. Where both are TCP
// the kernel splices, and the bytes never come up here.
func pass(dst, src net.Conn) (n int64, err error) {
	if c, ok := dst.(*firstConn); ok {
		dst = c.Conn
	}
	if c, ok := dst.(*peekConn); ok {
		dst = c.Conn
	}
	if c, ok := src.(*firstConn); ok {
		p := &peekConn{Conn: c.Conn}
		if err := p.more(); err == nil {
			c.first(p.ahead)
		} else if !errors.Is(err, io.EOF) {
			return 0, err
		}
		src = p
	}
	if c, ok := src.(*peekConn); ok {
		k, err := dst.Write(c.ahead)
		c.ahead = nil
		if err != nil {
			return int64(k), err
		}
		n, src = int64(k), c.Conn
	}
	k, err := io.Copy(dst, src)
	n += k
	if cerr := closeWrite(dst); err == nil && cerr != nil && !isDisconnect(cerr) {
		err = cerr
	}
	return n, err
}

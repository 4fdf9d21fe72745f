package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// tunnel carries bytes both ways until both sides have ended, passing
// half-close on, and closes both. It returns the bytes from a, the bytes from
// b, and the first error that was no ordinary end. When ctx ends it breaks off.
func tunnel(ctx context.Context, a, b net.Conn) (fromA, fromB int64, err error) {
	stop := context.AfterFunc(ctx, func() {
		_ = a.SetDeadline(time.Unix(1, 0))
		_ = b.SetDeadline(time.Unix(1, 0))
	})
	defer stop()
	back := make(chan error, 1)
	go func() { // ends with its copy, which the deferred closes or ctx end
		var err error
		fromB, err = pass(a, b)
		back <- err
	}()
	fromA, err = pass(b, a)
	if err != nil { // the other way cannot succeed any more
		_ = a.SetDeadline(time.Unix(1, 0))
		_ = b.SetDeadline(time.Unix(1, 0))
	}
	err = errors.Join(err, <-back)
	_ = a.Close()
	_ = b.Close()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fromA, fromB, err
}

// pass copies src to dst to its end and half-closes dst. Where both are TCP
// the kernel splices, and the bytes never come up here.
func pass(dst, src net.Conn) (int64, error) {
	var n int64
	if p, ok := src.(*peekConn); ok {
		ahead := p.ahead
		p.ahead = nil
		k, err := dst.Write(ahead)
		n = int64(k)
		if err != nil {
			return n, err
		}
		src = p.Conn
	}
	if p, ok := dst.(*peekConn); ok {
		dst = p.Conn
	}
	k, err := io.Copy(dst, src)
	n += k
	if cerr := closeWrite(dst); err == nil && cerr != nil && !errors.Is(cerr, net.ErrClosed) && !isDisconnect(cerr) {
		err = cerr
	}
	return n, err
}

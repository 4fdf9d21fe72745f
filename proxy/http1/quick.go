package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// quick serves requests within one read of the connection that waits for each of
// them: see sock.Conn's Each. What may read more than one head has brought, or keep
// the connection, goes the ordinary way.
type quick struct {
	c *serverConn
	x *exchange // for the next request, or of the one whose head was read

	read  bool  // x's head was read, and it is still to be answered
	part  bool  // a part of x's head was read
	bad   error // why a request is to be refused
	ended bool  // the connection's life is over
	err   error // how it ended
}

// run serves until the ordinary way has to go on, or the connection has ended.
func (q *quick) run() {
	c := q.c
	if !c.setIdle() {
		q.ended = true
		return
	}
	c.idleDeadline()
	c.out.within = true
	defer func() { c.out.within = false }()
	for {
		err := c.src.direct.Each(&c.src, q.use)
		switch {
		case err == nil:
			return
		case errors.Is(err, os.ErrDeadlineExceeded) && c.dl.passed() == nil:
			continue
		case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			err = nil
		}
		q.ended, q.err = true, err
		return
	}
}

// use serves what is in the buffer, n bytes; false ends run.
func (q *quick) use(n int) bool {
	c := q.c
	at := c.src.direct.Arrived()
	for c.src.w = n; c.src.buffered() > 0; at = time.Now() {
		c.setBusy()
		x := q.x
		x.req.At, x.req.Header = at, x.fields
		from := c.src.r
		c.src.frozen = true
		err := c.readRequest(x)
		c.src.frozen = false
		switch {
		case err == errNotBuffered:
			c.src.r, q.part = from, true
			return false
		case err != nil:
			q.bad = err
			return false
		case x.in.body != noBody || x.in.connect || x.in.upgrade:
			q.read = true
			return false
		}
		keep, err := c.exchange(x)
		if !keep {
			q.ended, q.err = true, err
			return false
		}
		c.out.free()
		q.x = x.renew()
	}
	c.src.free()
	if !c.setIdle() {
		q.ended = true
		return false
	}
	c.idleDeadline()
	return true
}

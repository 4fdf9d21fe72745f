package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/proxy/sock"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

const (
	defaultHeadBytes = 64 << 10
	// drainBytes and drainTime bound what is read of a body that its handler
	// left unread, to keep the connection.
	drainBytes = 256 << 10
	drainTime  = 5 * time.Second
	// lingerTime is how long a closing connection goes on reading: closed with
	// bytes unread, the kernel would send RST, and the client could lose the answer.
	lingerTime = 500 * time.Millisecond
	// restTime is how long the rest of a head may be on its way when a drain begins: longer
	// than a packet that was lost takes to be sent again.
	restTime = 500 * time.Millisecond
)

var noDeadline time.Time

// Server serves HTTP/1.0 and HTTP/1.1 on connections that others accept. It
// must not be changed or copied once it serves.
type Server struct {
	Handler wire.Handler
	// HeadTimeout bounds the time from a request's first byte to its head's
	// end; 0 for no bound.
	HeadTimeout time.Duration
	// IdleTimeout bounds the wait for a request's first byte; 0 for no bound.
	IdleTimeout time.Duration
	// MaxHeadBytes bounds a request's head; 0 for 64 KiB.
	MaxHeadBytes int
	// OnBad, where set, is told of each request that was refused before a
	// handler saw it, and of each malformed body. err is *BadRequestError.
	OnBad func(info *wire.Conn, err error)

	mu    sync.Mutex
	conns map[*serverConn]struct{}
	dead  bool
}

// ServeConn serves the requests that come on nc, one after the other, until
// the connection ends, and closes nc. When ctx ends, the request under way is
// finished and the connection closed; an idle one is closed at once, and one on which a
// head has not come whole half a second later. Values of ctx are seen by handlers, its end is not: see Abort.
//
// It returns nil where the connection ended between two requests,
// ErrHijacked where a handler took it over (nc is then not closed), what was
// wrong with it otherwise.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn, info *wire.Conn) error {
	c := &serverConn{srv: s, nc: nc, info: info, values: context.WithoutCancel(ctx)}
	c.dl.nc = nc
	c.src.nc, c.src.limit = nc, &c.dl
	c.src.rest()
	c.out.init(nc)
	c.watch.src = &c.src
	c.post = c.send
	c.sock = sock.Of(nc)
	if !s.track(c) {
		_ = nc.Close()
		return net.ErrClosed
	}
	stop := context.AfterFunc(ctx, c.drain)
	defer func() {
		stop()
		s.untrack(c)
		c.watch.retire()
		if !c.hijacked {
			_ = nc.Close()
		}
		c.out.free()
		c.src.free()
	}()
	err := c.serve()
	if c.hijacked {
		return ErrHijacked
	}
	if c.linger {
		c.lingerOn()
	}
	return err
}

// Abort ends the contexts of all requests under way and closes their
// connections, those taken over included while their handler has not returned.
// Connections that come later are closed at once.
func (s *Server) Abort() {
	s.mu.Lock()
	s.dead = true
	conns := make([]*serverConn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		_ = c.nc.Close()
		c.watch.leave()
	}
}

func (s *Server) track(c *serverConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return false
	}
	if s.conns == nil {
		s.conns = map[*serverConn]struct{}{}
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) untrack(c *serverConn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// serverConn is one client connection while it is served.
type serverConn struct {
	srv    *Server
	nc     net.Conn
	info   *wire.Conn
	values context.Context // the parent of requests' contexts, for values alone
	src    source
	dl     deadline
	out    output
	watch  watch
	sock   *sock.Conn // below nc; nil where there is none
	held   *response  // for whose moment its maker waits: see FinishBy
	post   func()     // send, made once

	mu    sync.Mutex    // for who interrupts a wait, or undoes that
	state atomic.Uint32 // idle, draining

	hijacked bool
	linger   bool // the client may still be sending
	halved   bool // closeWrite was called
}

// What a serverConn's state is made of.
const (
	idle     = 1 << iota // waiting for a request's first byte, or for the rest of its head
	draining             // the request under way is the last
)

// exchange is all that one request needs, in one allocation, which the next
// request on the connection uses again.
type exchange struct {
	c      *serverConn
	in     requestInfo
	req    wire.Request
	ctx    requestContext
	body   requestBody
	rw     response
	fields fixtures.Header // the array of req.Header
}

// renew makes x ready for the next request, or returns a new one where somebody
// may still hold x: who reads its body, waits for its context, or took it over.
func (x *exchange) renew() *exchange {
	if x.in.body != noBody || !x.ctx.untouched() {
		return &exchange{c: x.c}
	}
	c, fields := x.c, x.fields
	clear(fields[:cap(fields)])
	*x = exchange{} // cleared where it stands: with fields it would be made elsewhere, and copied
	x.c, x.fields = c, fields[:0]
	return x
}

// serve is the connection's life.
func (c *serverConn) serve() error {
	for x := (&exchange{c: c}); ; x = x.renew() {
		read, part := false, false
		if d := c.src.direct; d != nil && c.src.buffered() == 0 && d.Steady() {
			q := quick{c: c, x: x}
			q.run()
			switch x, read, part = q.x, q.read, q.part; {
			case q.ended:
				return q.err
			case q.bad != nil:
				return c.refuse(q.bad)
			}
		}
		if !read {
			if !part {
				at, err := c.await()
				if at.IsZero() {
					return err
				}
				x.req.At = at
			}
			x.req.Header = x.fields
			if err := c.readRequest(x); err != nil {
				return c.refuse(err)
			}
		}
		keep, err := c.exchange(x)
		if !keep {
			return err
		}
		c.out.free()
	}
}

// await waits for a request's first byte and returns when it came in: where the
// kernel does not say, when it was read. It returns the zero time where none will
// come.
func (c *serverConn) await() (at time.Time, err error) {
	if !c.setIdle() {
		if c.linger = c.src.buffered() > 0; c.linger {
			c.closeWrite()
		}
		return at, nil
	}
	waited := c.src.buffered() == 0
	if waited {
		c.idleDeadline()
		err := c.src.fill()
		switch {
		case err == nil:
		case err == io.EOF, err == errInterrupted, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return at, nil
		default:
			return at, err
		}
	}
	c.setBusy()
	if waited && c.sock != nil {
		return c.sock.Arrived(), nil
	}
	return time.Now(), nil
}

// idleDeadline bounds the wait for a request's first byte.
func (c *serverConn) idleDeadline() {
	if c.srv.IdleTimeout > 0 {
		c.dl.set(timing.Instant().Add(c.srv.IdleTimeout))
	} else {
		c.dl.set(noDeadline)
	}
}

// setIdle notes that no request is under way; false when none is to begin.
func (c *serverConn) setIdle() bool {
	return c.state.CompareAndSwap(0, idle) || !c.isDraining()
}

// setBusy notes that a request's first byte was read, or its whole head where the wait for
// that was noted: it will be answered.
func (c *serverConn) setBusy() {
	if c.state.CompareAndSwap(idle, 0) {
		return
	}
	c.mu.Lock() // else drain may be about to interrupt
	c.state.And(^uint32(idle))
	if c.isDraining() {
		c.dl.resume() // drain came too late to stop this one
	}
	c.mu.Unlock()
}

// drain lets the request under way be the last; it wakes an idle connection.
func (c *serverConn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Or(draining)&idle != 0 {
		c.dl.interrupt()
	}
}

func (c *serverConn) isDraining() bool { return c.state.Load()&draining != 0 }

// sooner is due, where that is not zero, or the end of what remains from now on.
func sooner(due time.Time, remains time.Duration) time.Time {
	if end := time.Now().Add(remains); due.IsZero() || end.Before(due) {
		return end
	}
	return due
}

// readRequest reads and checks a request's head.
func (c *serverConn) readRequest(x *exchange) error {
	due, waits := noDeadline, noDeadline // since when, for the rest
	late := func() {
		if waits.IsZero() {
			waits = timing.Instant()
			if c.srv.HeadTimeout > 0 {
				due = waits.Add(c.srv.HeadTimeout) // its beginning may have waited for us
			}
			if c.state.Or(idle)&draining != 0 {
				due = sooner(due, restTime)
			}
		}
		c.dl.set(due)
	}
	maxBytes := c.srv.MaxHeadBytes
	if maxBytes <= 0 {
		maxBytes = defaultHeadBytes
	}
	// A first byte that begins no request line is refused before the client
	// has sent a whole head, which it perhaps never will.
	if b := c.src.buf[c.src.r]; class[b]&isToken == 0 && b != '\r' && b != '\n' {
		return bad("malformed request line")
	}
	head, lines, err := c.src.readHead(maxBytes, late)
	for empty := false; ; head, lines, err = c.src.readHead(maxBytes, late) {
		if err == errInterrupted { // by drain, which is called once
			due = sooner(due, restTime)
			c.dl.set(due)
			c.dl.resume()
			continue
		}
		if empty || err != nil || lines > 0 {
			break
		}
		empty = true // one before the request line is let pass (RFC 9112, 2.2)
	}
	if !waits.IsZero() {
		c.setBusy()
		x.req.Waited = timing.Instant().Sub(waits)
	}
	switch {
	case err == nil:
	case err == errHeadTooLarge:
		return &BadRequestError{Status: 431, Reason: fmt.Sprintf("request head beyond %d bytes: limits.head_bytes bounds it", maxBytes)}
	case err == errBareLF:
		return bad("line ends without CR")
	case errors.Is(err, os.ErrDeadlineExceeded) && c.isDraining():
		return &BadRequestError{Status: 408, Reason: "request head did not come whole before the end"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &BadRequestError{Status: 408, Reason: "request head took too long"}
	default:
		return cutShort(err)
	}
	x.in, err = parseRequest(head, lines, &x.req)
	x.fields = x.req.Header[:0]
	return err
}

// exchange has one request answered; keep is false where it was the last.
func (c *serverConn) exchange(x *exchange) (keep bool, err error) {
	x.ctx.values = c.values
	x.rw.c, x.rw.in = c, &x.in
	x.body.x, x.body.wait = x, x.in.expect
	x.body.br.init(&c.src, x.in.body, x.req.Length)
	if x.in.body != noBody {
		x.req.Body = &x.body
		if x.in.body == chunked {
			x.req.Trailer = x.body.trailers
		}
	}
	c.dl.set(noDeadline)
	c.src.rest() // the answer may be long in coming
	c.watch.begin(&x.ctx, x.req.At)
	c.srv.Handler.ServeWire(&x.ctx, &x.rw, &x.req)
	if x.in.body != noBody {
		x.body.end()
	}
	c.watch.end()
	x.ctx.cancel()
	if c.hijacked {
		return false, nil
	}

	w := &x.rw
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := x.body.br.err; err != io.EOF && c.srv.OnBad != nil {
		if broken, ok := errors.AsType[*BadRequestError](err); ok {
			c.srv.OnBad(c.info, broken)
		}
	}
	if !w.ended {
		_ = w.breakOff(wire.Break{Kind: wire.Abort})
	}
	whole := x.body.br.err == io.EOF
	if c.out.err == nil && !w.closing && !whole && !(x.in.expect && !w.continued) {
		c.dl.set(time.Now().Add(drainTime))
		whole = x.body.br.discard(drainBytes)
	}
	c.linger = !whole || c.src.buffered() > 0
	if w.closing || !whole {
		if c.linger {
			c.closeWrite()
		}
		return false, c.out.err
	}
	return true, nil
}

// send sends the answer that is held, as far as the kernel takes it at once. Another
// goroutine calls it, for which this one waits.
func (c *serverConn) send() {
	c.held.renew()
	c.out.try()
}

// closeWrite lets the client see the end of what we send. Where the connection
// cannot be half-closed, it is closed.
func (c *serverConn) closeWrite() {
	if c.halved {
		return
	}
	c.halved = true
	if h, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite()
		return
	}
	_ = c.nc.Close()
}

// reset ends the connection with RST.
func (c *serverConn) reset() {
	sock.Reset(c.nc)
	_ = c.nc.Close()
}

// hijack gives the connection away, what was read of it first.
func (c *serverConn) hijack() net.Conn {
	c.hijacked = true
	_ = c.nc.SetDeadline(noDeadline) // fails only where the connection is closed
	return withLeftover(c.nc, c.src.take())
}

// lingerOn reads on until the client has closed too, for a short while.
func (c *serverConn) lingerOn() {
	c.dl.set(time.Now().Add(lingerTime))
	for {
		c.src.r = c.src.w
		if c.src.fill() != nil {
			return
		}
	}
}

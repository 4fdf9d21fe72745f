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

	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/proxy/sock"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

const (
	defaultResponseHeadBytes = 256 << 10
	// maxInterim bounds the 1xx responses before a final one.
	maxInterim = 100
	// expectWait is how long a body is held for 100 (Continue); servers that
	// do not know it stay silent (RFC 9110, 10.1.1).
	expectWait = time.Second
	// sendGrace is how long a request's body may still be sent after its
	// response has been read to the end, to keep the connection.
	sendGrace = 50 * time.Millisecond
	// smallBody is up to where a body of known length goes out in one write
	// with its head.
	smallBody = 8 << 10
	// doubtAfter is how long an answer is waited for, at least, before a look whether
	// the upstream has ended its stream unheard: see sock.Conn's ReadAfter. That is rare,
	// and the timer goes on while requests do.
	doubtAfter = time.Second
)

var errBusy = errors.New("connection is busy or closed")

// connState is what a Conn is doing.
type connState uint8

const (
	connIdle connState = iota
	connBusy
	connDead
)

// Conn is a connection to an upstream. It carries one request at a time.
type Conn struct {
	// Idle, where set, is called each time the connection may be used again:
	// once the response was read to its end (or closed, where little of it was
	// left) and the request's last byte was sent. It is called from the
	// goroutine that did the last of these, RoundTrip's included, and may call
	// RoundTrip. Set it before the first RoundTrip.
	Idle func(c *Conn)
	// Closed, where set, is called once when the connection has ended or was
	// handed over, from any goroutine. Set it before the first RoundTrip.
	Closed func(c *Conn)
	// MaxHeadBytes bounds a response's head; 0 for 256 KiB.
	MaxHeadBytes int

	nc    net.Conn
	addr  string
	src   source
	out   output
	peek  *peeker
	below *sock.Conn // the socket's; nil where there is none
	late  bool       // see Sure; set while the connection is busy
	spare [1]byte    // for ahead

	served atomic.Int64
	mu     sync.Mutex
	state  connState
	turn   uint64 // counts the requests
	cause  error  // see Fail

	doubts *time.Timer // calls doubt. It goes on over requests, which do not pay for it
	armed  bool        // it runs
	asked  uint64      // the turn at its last start
}

// NewConn makes nc, just dialled, a Conn that owns it. addr is host:port, for errors.
func NewConn(nc net.Conn, addr string) *Conn {
	c := &Conn{nc: nc, addr: addr, peek: newPeeker(nc), below: sock.Of(nc)}
	c.src.nc = nc
	c.src.rest()
	c.out.init(nc)
	return c
}

// Served returns how many responses' heads have been read.
func (c *Conn) Served() int64 { return c.served.Load() }

// Reusable reports whether RoundTrip may be called now.
func (c *Conn) Reusable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == connIdle
}

// Stale reports whether an idle connection was ended by its upstream, or has
// got bytes that nobody asked for: a look at the socket that costs one system
// call and never waits. Where there is no socket it reports false. Under TLS what is
// waiting may be a session ticket, which does no harm; but servers send these before
// their first response.
func (c *Conn) Stale() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == connDead || c.state == connIdle && (c.ahead() || c.peek.stale())
}

// Sure reports whether an idle connection whose last response ended a short time ago
// needs no look, as Stale is: not where that was a response without a body, behind which
// some servers send one all the same, nor where a layer above the socket, as TLS is, has
// read more already than was asked of it. It costs no system call.
func (c *Conn) Sure() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.late && (c.state != connIdle || !c.ahead())
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// ahead reports whether a layer above the socket has bytes that nobody asked for, or
// the stream's end: what it reads while the socket gives nothing it had read before.
func (c *Conn) ahead() bool {
	switch {
	case c.out.vector != nil:
		return false
	case c.below != nil && c.below.Withhold(true):
		_, err := c.nc.Read(c.spare[:])
		c.below.Withhold(false)
		return err != sock.Withheld
	case c.nc.SetReadDeadline(longAgo) != nil:
		return true
	}
	_, err := c.nc.Read(c.spare[:])
	return c.nc.SetReadDeadline(time.Time{}) != nil || !errors.Is(err, os.ErrDeadlineExceeded)
}

// Close ends the connection; an exchange under way fails.
func (c *Conn) Close() error {
	if !c.die(nil) {
		return nil
	}
	err := c.nc.Close()
	if c.Closed != nil {
		c.Closed(c)
	}
	return err
}

// Fail breaks the connection with RST; an exchange under way fails with err. It does
// nothing to one that has ended, or was handed over.
func (c *Conn) Fail(err error) {
	if !c.die(err) {
		return
	}
	sock.Reset(c.nc)
	_ = c.nc.Close()
	if c.Closed != nil {
		c.Closed(c)
	}
}

// die has the connection carry nothing from here on, for cause where that is not nil;
// false where that was so before.
func (c *Conn) die(cause error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == connDead {
		return false
	}
	c.state, c.cause = connDead, cause
	return true
}

// failed returns what Fail was called with; nil where it was not.
func (c *Conn) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// detach gives nc away; false where it was closed already.
func (c *Conn) detach() bool {
	if !c.die(nil) {
		return false
	}
	if c.Closed != nil {
		c.Closed(c)
	}
	return true
}

// RoundTrip sends r and returns the final response's head. Its errors are
// *wire.UpstreamError, with a *StaleError inside where a connection that had
// served before broke before the response's first byte. After an error the
// connection is closed.
//
// r.Absolute asks for the absolute form, as a proxy upstream wants it. The
// request's body may be read until the response's body has ended. When ctx
// ends, the connection is closed.
func (c *Conn) RoundTrip(ctx context.Context, r *wire.Request) (*wire.Response, error) {
	c.mu.Lock()
	if c.state != connIdle {
		dead := c.state == connDead
		c.mu.Unlock()
		if dead {
			return nil, &wire.UpstreamError{Op: "write", Addr: c.addr, Err: &StaleError{Err: net.ErrClosed, Unsent: true}}
		}
		return nil, &wire.UpstreamError{Op: "write", Addr: c.addr, Err: errBusy}
	}
	c.state = connBusy
	if c.turn++; !c.armed && c.out.vector != nil {
		c.arm()
	}
	c.mu.Unlock()

	t := tripPool.Get().(*trip)
	t.c, t.req, t.reused, t.lent = c, r, c.served.Load() > 0, true
	t.watch(ctx)
	c.out.take()
	err := t.send()
	if err == nil {
		err = t.receive()
	}
	if err != nil {
		_ = c.Close()
		t.unwatch()
		return nil, t.explain(ctx, err)
	}
	return &t.resp, nil
}

// arm has doubt called in doubtAfter. mu is held.
func (c *Conn) arm() {
	c.armed, c.asked = true, c.turn
	c.doubts = timing.Rearm(c.doubts, doubtAfter, c.doubt)
}

// doubt has the end of the upstream's stream seen where a request waits for long.
func (c *Conn) doubt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.armed = false; {
	case c.state != connBusy:
	case c.asked != c.turn: // a younger one
		c.arm()
	default:
		c.out.vector.Rouse()
	}
}

// release makes the connection idle again, or closes it where that cannot be.
func (c *Conn) release(t *trip) {
	c.mu.Lock()
	ok := t.unwatch() && c.state == connBusy && c.src.buffered() == 0 && c.src.err == nil
	if ok {
		c.src.free()
		c.state = connIdle
	}
	c.mu.Unlock()
	switch {
	case !ok:
		_ = c.Close()
	case c.Idle != nil:
		c.Idle(c)
	}
}

// receive reads up to the final response's head.
func (t *trip) receive() error {
	c := t.c
	maxBytes := c.MaxHeadBytes
	if maxBytes <= 0 {
		maxBytes = defaultResponseHeadBytes
	}
	for range maxInterim {
		if c.src.buffered() == 0 {
			if err := t.read(); err != nil {
				return t.readError(err)
			}
		}
		firstAt := timing.Instant()
		if c.src.buf[c.src.r] != 'H' { // these bytes answer nothing: the request may be sent again
			return violation("not an HTTP response")
		}
		t.answered = true
		head, lines, err := c.src.readHead(maxBytes, nil)
		switch err {
		case nil:
		case errHeadTooLarge:
			return violation(fmt.Sprintf("response head beyond %d bytes: limits.head_bytes bounds it", maxBytes))
		case errBareLF:
			return violation("line ends without CR")
		default:
			return t.readError(err)
		}
		r := &t.resp
		*r = wire.Response{Header: t.fields}
		in, err := parseResponse(head, lines, t.req.Method, r)
		if err != nil {
			return err
		}
		switch {
		case r.Status == 100:
			t.proceed(true)
			continue
		case r.Status < 200 && r.Status != 101:
			if t.req.Inform != nil {
				t.req.Inform(r.Status, r.Header)
			}
			t.fields = nil // who was told may keep it
			continue
		}
		t.fields = r.Header[:0]
		c.served.Add(1)
		r.Trace = wire.Trace{Reused: t.reused, FirstAt: firstAt, RemoteNet: c.nc.RemoteAddr()}
		return t.begin(in)
	}
	return violation("too many interim responses")
}

// begin hands the final response out.
func (t *trip) begin(in responseInfo) error {
	c, r := t.c, &t.resp
	t.proceed(false)
	t.mu.Lock()
	r.Trace.SentAt = t.sentAt
	sent := t.sent
	t.mu.Unlock()
	if r.Status == 101 || t.req.Method == "CONNECT" && r.Status/100 == 2 {
		if r.Status == 101 && !t.plan.upgrade || !sent {
			return violation("switched protocols unasked")
		}
		if !t.unwatch() || !c.detach() {
			return net.ErrClosed
		}
		r.Body = nothing{}
		r.Switched = withLeftover(c.nc, c.src.take())
		c.src.free()
		c.out.free()
		return nil
	}
	t.keep = in.keep
	c.late = in.body == noBody
	t.body.t = t
	t.body.br.init(&c.src, in.body, r.Length)
	r.Body = &t.body
	if in.body == chunked {
		r.Trailer = t.body.trailers
	}
	if t.body.br.err == io.EOF { // Content-Length: 0
		t.received(true)
	}
	return nil
}

// nothing is the body of a response that has none.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }
func (nothing) Close() error             { return nil }

// readError turns the connection's end into what it means within an exchange.
func (t *trip) readError(err error) error {
	if err == io.EOF && !t.answered {
		return io.EOF
	}
	return cutShort(err)
}

// explain makes an error of RoundTrip: the first cause, and where it struck.
func (t *trip) explain(ctx context.Context, err error) error {
	t.mu.Lock()
	sendErr, taken, source := t.sendErr, t.taken, t.sourceErr
	t.mu.Unlock()
	cause := t.c.failed()
	op := "read"
	var v *ProtocolError
	switch {
	case ctx.Err() != nil:
		return &wire.UpstreamError{Op: op, Addr: t.c.addr, Err: context.Cause(ctx)}
	case cause != nil:
		err = cause
	case source:
		return &wire.UpstreamError{Op: "write", Addr: t.c.addr, Err: sendErr}
	case errors.As(err, &v):
		op = "protocol"
	case sendErr != nil:
		op, err = "write", sendErr
	}
	if t.reused && !t.answered && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = &StaleError{Err: err, BodyTaken: taken}
	}
	return &wire.UpstreamError{Op: op, Addr: t.c.addr, Err: err}
}

package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/proxy/http2"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// host is the pool of one upstream.
type host struct {
	key
	t    *Transport
	name string // TLS's server name
	tls  [2]*tls.Config

	mu     sync.Mutex
	closed bool
	lines  map[*line]struct{} // all HTTP/1 connections
	idle   []*line            // those without an exchange, the latest used last
	h2     []*shared          // used by all exchanges that speak HTTP/2
	dial2  *dialing           // an attempt at HTTP/2 that others wait for
	noH2   bool               // the server did not want it

	watched bool // the reaper looks at this host
}

// dialing is an attempt to connect with HTTP/2.
type dialing struct {
	done chan struct{} // closed at its end
	err  error         // what those who waited are to return; nil: look again
}

func newHost(t *Transport, k key) *host {
	name := k.sni
	if name == "" {
		name, _, _ = net.SplitHostPort(k.addr)
	}
	return &host{key: k, t: t, name: name, tls: newTLSConfigs(t, name), lines: map[*line]struct{}{}}
}

// roundTrip sends r on a pooled or new connection.
func (h *host) roundTrip(ctx context.Context, r *wire.Request) (*wire.Response, error) {
	switch {
	case r.Proto != "HTTP/2.0":
		return h.roundTrip1(ctx, r)
	case r.Method == "CONNECT":
		return h.roundTrip1(ctx, toHTTP1(r))
	}
	return h.roundTrip2(ctx, r)
}

// roundTrip1 speaks HTTP/1.
func (h *host) roundTrip1(ctx context.Context, r *wire.Request) (*wire.Response, error) {
	now := r.At
	if now.IsZero() {
		now = time.Now()
	}
	if l := h.takeIdle(now, idempotent(r.Method) && r.Body == nil); l != nil {
		res, err := l.roundTrip(ctx, r)
		if err == nil || !mayRetry(ctx, r, err) {
			return res, err
		}
	}
	d, err := h.dial(ctx, false)
	if err != nil {
		return nil, err
	}
	return h.first(ctx, d, r)
}

// first sends r on a connection that is new and speaks HTTP/1.
func (h *host) first(ctx context.Context, d *dialled, r *wire.Request) (*wire.Response, error) {
	l, err := h.add(d.nc)
	if err != nil {
		return nil, err
	}
	res, err := l.roundTrip(ctx, r)
	if err != nil {
		return nil, err
	}
	res.Trace.Connect, res.Trace.TLS = d.length.connect, d.length.tls
	return res, nil
}

// roundTrip2 speaks HTTP/2 where the server does.
func (h *host) roundTrip2(ctx context.Context, r *wire.Request) (*wire.Response, error) {
	var body *keptBody
	if r.Body != nil && r.Length != 0 {
		again := *r
		body = &keptBody{Reader: r.Body}
		again.Body = body
		r = &again
	}
	unsaid := 0 // failures that the server did not announce
	for try := 1; ; try++ {
		c, d, err := h.conn2(ctx)
		if err != nil {
			return nil, err
		}
		switch {
		case c == nil && d == nil: // the server speaks HTTP/1 and we know it
			return h.roundTrip1(ctx, toHTTP1(r))
		case c == nil: // we have just learnt it
			return h.first(ctx, d, toHTTP1(r))
		}
		res, err := c.RoundTrip(ctx, r)
		if err == nil {
			if d != nil {
				res.Trace.Connect, res.Trace.TLS = d.length.connect, d.length.tls
			}
			if body != nil {
				body.settled.Store(true)
			}
			return res, nil
		}
		if !errors.Is(err, http2.ErrRefused) {
			unsaid++ // a cause of its own, which would not go away either
		}
		if try == maxTries || unsaid > 1 || !mayRetry(ctx, r, err) {
			return nil, err
		}
		if try > 1 && timing.SleepUntil(ctx, nil, time.Now().Add(refusedPause<<(try-2))) != nil {
			return nil, err
		}
	}
}

const (
	// maxTries bounds how often a request is sent that HTTP/2 servers refuse: each may be
	// about to go, or to take fewer requests at once, and only now have said so.
	maxTries = 6
	// refusedPause is before the third try, and doubles from there on.
	refusedPause = 10 * time.Millisecond
)

// conn2 returns an HTTP/2 connection with a place kept on it, and, where it is
// new, how it was dialled. Without a connection it returns what was dialled and
// turned out to speak HTTP/1, or nothing where that was known before.
func (h *host) conn2(ctx context.Context) (*http2.Conn, *dialled, error) {
	for {
		h.mu.Lock()
		if c := h.take2(); c != nil {
			h.mu.Unlock()
			return c, nil, nil
		}
		if h.closed || h.noH2 {
			defer h.mu.Unlock()
			if h.closed {
				return nil, nil, h.closedError()
			}
			return nil, nil, nil
		}
		wait := h.dial2
		if wait == nil {
			h.dial2 = &dialing{done: make(chan struct{})}
			h.mu.Unlock()
			return h.connect2(ctx)
		}
		h.mu.Unlock()
		select {
		case <-wait.done:
			if wait.err != nil {
				return nil, nil, wait.err
			}
		case <-ctx.Done():
			return nil, nil, &wire.UpstreamError{Op: "dial", Addr: h.addr, Err: context.Cause(ctx)}
		}
	}
}

// connect2 dials for HTTP/2 and settles h.dial2.
func (h *host) connect2(ctx context.Context) (c *http2.Conn, d *dialled, err error) {
	if h.secure {
		if d, err = h.dial(ctx, true); err == nil && d.h2 {
			c, err = http2.NewConn(d.nc, h.addr)
		}
	} else {
		c, d, err = h.connectClear(ctx)
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	attempt := h.dial2
	h.dial2 = nil
	defer close(attempt.done)
	switch {
	case err != nil:
		if ctx.Err() == nil { // else it was this caller's impatience alone
			attempt.err = err
		}
		return nil, nil, err
	case c == nil:
		h.noH2 = true
		return nil, d, nil
	case h.closed:
		_ = c.Close()
		return nil, nil, h.closedError()
	}
	c.Reserve()
	h.h2 = append(h.h2, &shared{c, silenceOf(d.nc)})
	h.watched = true
	h.t.reapLater()
	h.t.watch()
	return c, d, nil
}

// connectClear tries HTTP/2 with prior knowledge. A server that does not answer
// a PING in it is given a new connection with HTTP/1.1, and no request was lost.
func (h *host) connectClear(ctx context.Context) (*http2.Conn, *dialled, error) {
	d, err := h.dial(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	c, err := http2.NewConn(d.nc, h.addr)
	if err == nil {
		hctx, cancel := context.WithTimeout(ctx, h.t.probeTimeout())
		defer cancel()
		if err = c.Handshake(hctx); err == nil {
			return c, d, nil
		}
		_ = c.Close()
	}
	if ctx.Err() != nil {
		return nil, nil, err
	}
	d, err = h.dial(ctx, false)
	return nil, d, err
}

// take2 returns a connection with a place kept on it, nil if none has one, and
// forgets those that are closed. mu is held.
func (h *host) take2() *http2.Conn {
	h.h2 = slices.DeleteFunc(h.h2, func(c *shared) bool { return !c.Open() })
	for _, c := range h.h2 {
		if c.Reserve() {
			return c.Conn
		}
	}
	return nil
}

// freshFor is how long a connection that has served several requests is taken
// to be alive without a look. A server closes what has been idle for seconds,
// or says so in its last answer; a look costs a system call, which is a twentieth of a
// small exchange. Under load connections rest for less than this.
const freshFor = 10 * time.Millisecond

// takeIdle returns the idle connection that was used last, nil if there is
// none. One that the server has closed meanwhile, or sent more on than was asked, is
// thrown away. Where again says that the request may be sent once more, a look is
// spared that would hardly find anything.
func (h *host) takeIdle(now time.Time, again bool) *line {
	for {
		h.mu.Lock()
		n := len(h.idle)
		if n == 0 {
			h.mu.Unlock()
			return nil
		}
		l := h.idle[n-1]
		h.idle[n-1] = nil
		h.idle = h.idle[:n-1]
		fresh := again && now.Sub(l.since) < freshFor
		h.mu.Unlock()
		if fresh && l.Served() > 1 && l.Sure() || !l.Stale() {
			return l
		}
		_ = l.Close()
	}
}

// reap closes what has been idle since before that instant (all that is idle,
// where it is zero), and reports whether connections are left to watch.
func (h *host) reap(before time.Time) bool {
	old := func(since time.Time) bool { return before.IsZero() || since.Before(before) }
	h.mu.Lock()
	// The longest idle stand first.
	n := 0
	for n < len(h.idle) && old(h.idle[n].since) {
		n++
	}
	stale := slices.Clone(h.idle[:n])
	h.idle = slices.Delete(h.idle, 0, n)
	var stale2 []*shared
	h.h2 = slices.DeleteFunc(h.h2, func(c *shared) bool {
		if since, idle := c.Idle(); c.Open() && !(idle && old(since)) {
			return false
		}
		stale2 = append(stale2, c)
		return true
	})
	left := len(h.idle)+len(h.h2) > 0
	h.watched = left
	h.mu.Unlock()
	for _, l := range stale {
		_ = l.Close()
	}
	for _, c := range stale2 {
		_ = c.Close()
	}
	return left
}

// close ends all connections.
func (h *host) close() {
	h.mu.Lock()
	h.closed = true
	lines := make([]*line, 0, len(h.lines))
	for l := range h.lines {
		lines = append(lines, l)
	}
	conns := h.h2
	h.h2, h.idle = nil, nil
	h.mu.Unlock()
	for _, l := range lines {
		_ = l.Close()
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

func (h *host) closedError() error {
	return &wire.UpstreamError{Op: "dial", Addr: h.addr, Err: ErrClosed}
}

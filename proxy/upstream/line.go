package upstream

import (
	"context"
	"net"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/proxy/http1"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// line is a pooled HTTP/1 connection.
type line struct {
	*http1.Conn
	since   time.Time // idle since; guarded by host.mu
	to      string    // the address
	silence silence   // the watch's own
}

// add takes a new connection into the books. It is not idle: the caller uses it.
func (h *host) add(nc net.Conn) (*line, error) {
	l := &line{Conn: http1.NewConn(nc, h.addr), to: nc.RemoteAddr().String(), silence: silenceOf(nc)}
	l.Idle = func(*http1.Conn) { h.putIdle(l) }
	l.Closed = func(*http1.Conn) { h.remove(l) }
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		_ = nc.Close()
		return nil, h.closedError()
	}
	h.lines[l] = struct{}{}
	h.mu.Unlock()
	h.t.watch()
	return l, nil
}

// putIdle offers l to the next request.
func (h *host) putIdle(l *line) {
	h.mu.Lock()
	full := h.closed || len(h.idle) >= orDefault(h.t.MaxIdlePerHost, DefaultMaxIdlePerHost)
	arm := false
	if !full {
		l.since = timing.Instant()
		h.idle = append(h.idle, l)
		arm = !h.watched
		h.watched = true
	}
	h.mu.Unlock()
	switch {
	case full:
		_ = l.Close()
	case arm:
		h.t.reapLater()
	}
}

// remove forgets a connection that has ended.
func (h *host) remove(l *line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.lines, l)
	for i, other := range h.idle {
		if other == l {
			h.idle = append(h.idle[:i], h.idle[i+1:]...)
			return
		}
	}
}

// roundTrip sends r in origin form: the other end is the origin.
func (l *line) roundTrip(ctx context.Context, r *wire.Request) (*wire.Response, error) {
	if r.Absolute {
		origin := *r
		origin.Absolute = false
		r = &origin
	}
	return l.RoundTrip(ctx, r)
}

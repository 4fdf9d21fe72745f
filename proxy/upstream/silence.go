package upstream

import (
	"fmt"
	"net"
	"time"

	"github.com/understudy-proxy/understudy/proxy/http2"
	"github.com/understudy-proxy/understudy/proxy/sock"
)

// SilentError is why a connection was given up: nothing that was sent on it was
// acknowledged for that long. A slow upstream acknowledges at once; here its machine, or
// the way to it, is gone. What was sent may have been acted on.
type SilentError struct{ For time.Duration }

// Error says how long, and which setting says so.
func (e *SilentError) Error() string {
	return fmt.Sprintf("nothing that was sent was acknowledged for %v: its machine, or the way to it, is gone (upstream.timeouts.unacknowledged)", e.For)
}

// Timeout returns true.
func (e *SilentError) Timeout() bool { return true }

// silence is how long a connection's other side has left what was sent to it without a word.
// TCP_USER_TIMEOUT is no such bound: it also ends connections whose upstream does not read,
// as one that is saturated with uploads.
type silence struct {
	sock  *sock.Conn // nil where there is none
	since time.Time  // zero for no silence
	at    time.Time  // of the last look
}

func silenceOf(nc net.Conn) silence { return silence{sock: sock.Of(nc)} }

// look returns for how long there has been silence as far as looks can tell, which is a
// look's distance less than it was. limit is how long there may be.
func (s *silence) look(now time.Time, limit time.Duration) time.Duration {
	if s.sock == nil {
		return 0
	}
	waiting, heard := s.sock.Waiting()
	return s.saw(now, waiting, now.Add(-heard), limit)
}

func (s *silence) saw(now time.Time, waiting bool, heardAt time.Time, limit time.Duration) time.Duration {
	// Who was stopped for a while, with all of the machine as a virtual one is, or alone,
	// does not know what was sent when.
	late := now.Sub(s.at) > max(limit/4, time.Second)
	s.at = now
	switch {
	case !waiting:
		s.since = time.Time{}
		return 0
	case s.since.IsZero(), heardAt.After(s.since), late:
		s.since = now // it was sent since the last look, or the answer is about to come
	}
	return now.Sub(s.since)
}

// shared is a connection that speaks HTTP/2.
type shared struct {
	*http2.Conn
	silence silence // the watch's own
}

// watchParts is how many looks there are in the time of a SilentError.
const watchParts = 8

// watch looks out for silence as long as there are connections.
func (t *Transport) watch() {
	limit := orDefault(t.UnacknowledgedTimeout, DefaultUnacknowledgedTimeout)
	t.watching.begin(limit/watchParts, func() bool {
		more := false
		now := time.Now()
		for _, h := range t.all() {
			more = h.listen(now, limit) || more
		}
		return more
	})
}

// listen gives up connections that have been silent for limit, and closes idle ones to
// where a younger one has met silence for a quarter of it: each would cost a request that
// long, or its client's patience. It reports whether there are connections.
func (h *host) listen(now time.Time, limit time.Duration) bool {
	h.mu.Lock()
	lines := make([]*line, 0, len(h.lines))
	for l := range h.lines {
		lines = append(lines, l)
	}
	conns := append([]*shared(nil), h.h2...)
	h.mu.Unlock()

	var silent map[string]time.Time // since when, by address
	for _, l := range lines {
		d := l.silence.look(now, limit)
		if d >= limit {
			l.Fail(&SilentError{limit})
		}
		if d >= limit/4 { // two looks found the same
			if silent == nil {
				silent = map[string]time.Time{}
			}
			silent[l.to] = l.silence.since
		}
	}
	for _, c := range conns {
		if c.silence.look(now, limit) >= limit {
			c.Fail(&SilentError{limit})
		}
	}
	if silent != nil {
		h.drop(silent)
	}
	return len(lines)+len(conns) > 0
}

// drop closes connections that have been idle since before their address fell silent.
func (h *host) drop(silent map[string]time.Time) {
	var old []*line
	h.mu.Lock()
	kept := h.idle[:0]
	for _, l := range h.idle {
		if since, ok := silent[l.to]; ok && l.since.Before(since) {
			old = append(old, l)
		} else {
			kept = append(kept, l)
		}
	}
	clear(h.idle[len(kept):])
	h.idle = kept
	h.mu.Unlock()
	for _, l := range old {
		_ = l.Close()
	}
}

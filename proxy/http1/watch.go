package http1

import (
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/proxy/sock"
)

const (
	// goneAfter is how long a request is served before a look-out for the client's
	// leaving costs anything. It is no round number: the delays that people ask for
	// are, and the look-out would begin in the very moment in which they end.
	goneAfter = 13 * time.Millisecond
	// lookAgain is when to look next where the request of then was younger.
	lookAgain = 2 * goneAfter
)

// watch notices that the client left while its request is being served: the end of
// its stream counts as that. Where the socket cannot be asked, as under TLS, it reads
// ahead into the connection's buffer, where pipelined bytes stay for the next request.
type watch struct {
	src *source

	mu   sync.Mutex
	ctx  *requestContext // of the request being served
	left bool            // ctx was ended
	off  bool            // the connection has another reader now
	// began is when the request under way began, and since the same once it is to
	// be watched; zero while it is not. So nobody need ask the clock.
	began, since time.Time
	// timer calls look. It goes on over requests, and over their ends: quick
	// ones do not pay for it.
	timer   *time.Timer
	armed   bool
	reading chan struct{} // closed when the background read has ended
	// below is the connection where its socket can be asked, in place of the background
	// read: which could not be where the server itself is in a read of it (see quick), and
	// costs more. It begins with a goroutine, and ends with a deadline.
	below *sock.Conn
	asks  *sock.Conn // below, once it is to tell
}

// begin makes the watch ready for a request; end is its counterpart.
func (w *watch) begin(ctx *requestContext, at time.Time) {
	w.mu.Lock()
	w.ctx, w.left, w.began, w.below = ctx, false, at, w.src.direct
	w.mu.Unlock()
}

// start looks out once the request has been served for goneAfter, or a little later.
func (w *watch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left || w.off || w.ctx == nil || w.reading != nil || !w.since.IsZero() {
		return
	}
	w.since = w.began
	if !w.armed {
		w.arm(goneAfter)
	}
}

func (w *watch) arm(after time.Duration) {
	w.armed = true
	w.timer = timing.Rearm(w.timer, after, w.look)
}

// leave marks the client as gone.
func (w *watch) leave() {
	w.mu.Lock()
	ctx := w.ctx
	if ctx == nil || w.left {
		w.mu.Unlock()
		return
	}
	w.left = true
	ctx.cancel() // end waits for it: the next request may have ctx's place
	w.mu.Unlock()
}

// look asks to be told, or reads until the client leaves, the buffer is full, or stop
// interrupts. It runs in the timer's goroutine, owned by stop.
func (w *watch) look() {
	w.mu.Lock()
	w.armed = false
	if w.since.IsZero() || w.off || w.reading != nil || w.asks != nil {
		w.mu.Unlock()
		return
	}
	if time.Since(w.since) < goneAfter {
		w.arm(lookAgain)
		w.mu.Unlock()
		return
	}
	if w.below != nil && w.below.WhenEnded(w.leave) {
		w.asks = w.below
		w.mu.Unlock()
		return
	}
	done := make(chan struct{})
	w.reading = done
	w.mu.Unlock()

	defer close(done)
	for {
		switch err := w.src.fill(); err {
		case nil:
		case errInterrupted, errLineTooLong:
			return
		default:
			w.leave()
			return
		}
	}
}

// stop ends the look-out; afterwards the source is the caller's again.
func (w *watch) stop() {
	w.mu.Lock()
	w.stopLocked()
}

// stopLocked is stop with mu held, which it gives back.
func (w *watch) stopLocked() {
	w.since = time.Time{}
	if w.asks != nil {
		w.asks.Forget()
		w.asks = nil
	}
	done := w.reading
	w.reading = nil
	w.mu.Unlock()
	if done == nil {
		return
	}
	w.src.limit.interrupt()
	<-done
	w.src.limit.resume()
}

// retire stops the look-out for good.
func (w *watch) retire() {
	w.mu.Lock()
	w.off = true
	if w.timer != nil {
		w.timer.Stop() // where it fired already, look sees off
	}
	w.mu.Unlock()
	w.stop()
}

// end stops the look-out and forgets the request.
func (w *watch) end() {
	w.mu.Lock()
	w.ctx = nil
	w.stopLocked()
}

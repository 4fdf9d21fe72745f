package http1

import (
	"sync"
	"time"
)

// goneAfter is how long a request is served before a look-out for the client's
// leaving costs anything.
const goneAfter = 10 * time.Millisecond

// watch notices that the client left while its request is being served: it
// reads ahead into the connection's buffer, where pipelined bytes stay for the
// next request. The end of the client's stream counts as its leaving.
type watch struct {
	src *source

	mu      sync.Mutex
	ctx     *requestContext // of the request being served
	gone    chan struct{}   // nil until asked for
	left    bool            // gone is closed
	off     bool            // the connection has another reader now
	timer   *time.Timer
	reading chan struct{} // closed when the background read has ended
}

// begin makes the watch ready for a request; end is its counterpart.
func (w *watch) begin(ctx *requestContext) {
	w.mu.Lock()
	w.ctx, w.gone, w.left = ctx, nil, false
	w.mu.Unlock()
}

// start returns the channel that leave closes, and looks out from goneAfter on.
func (w *watch) start() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone == nil {
		w.gone = make(chan struct{})
		if w.left {
			close(w.gone)
		}
	}
	if !w.left && !w.off && w.ctx != nil && w.timer == nil && w.reading == nil {
		w.timer = time.AfterFunc(goneAfter, w.look)
	}
	return w.gone
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
	if w.gone != nil {
		close(w.gone)
	}
	w.mu.Unlock()
	ctx.cancel()
}

// look reads until the client leaves, the buffer is full, or stop interrupts.
// It runs in the timer's goroutine, owned by stop.
func (w *watch) look() {
	w.mu.Lock()
	if w.timer == nil {
		w.mu.Unlock()
		return // stopped as it fired
	}
	w.timer = nil
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
	if w.timer != nil {
		w.timer.Stop() // where it fired already, look sees the nil
		w.timer = nil
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
	w.mu.Unlock()
	w.stop()
}

// end stops the look-out and forgets the request.
func (w *watch) end() {
	w.stop()
	w.mu.Lock()
	w.ctx = nil
	w.mu.Unlock()
}

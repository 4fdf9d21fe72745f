package http2

import (
	"errors"
	"fmt"
	"net"

	xhttp2 "golang.org/x/net/http2"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// maxData bounds a DATA frame whatever the client would take, so that streams
// get their turns.
const maxData = 64 << 10

// writer answers on one stream. It implements wire.ResponseWriter.
type writer struct {
	st       *stream
	head     *wire.Head // nil before WriteHead
	sent     bool       // HEADERS are in conn.out or beyond
	bodyless bool       // HEAD, 204, 304
	written  int64
	over     bool // Finish or Break was called

	// Where the last DATA frame begins in the out buffer number lastGen: while
	// that has not been written, Finish sets END_STREAM there and saves an
	// empty frame.
	hasLast bool
	lastAt  int
	lastGen uint64
}

var _ wire.ResponseWriter = (*writer)(nil)

// usable returns why nothing can be sent any more. mu is held.
func (w *writer) usable() error {
	switch {
	case w.over:
		return errEnded
	case w.st.err != nil:
		return w.st.err
	case w.st.c.werr != nil:
		return w.st.c.werr
	case w.st.c.err != nil:
		return errConnGone
	case w.st.closed:
		return errEnded
	}
	return nil
}

// Inform sends an interim response.
func (w *writer) Inform(status int, h fixtures.Header) error {
	if status < 100 || status > 199 || status == 101 {
		return fmt.Errorf("inform: HTTP/2 has no interim response %d", status)
	}
	c := w.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	if w.head != nil {
		return errTwoHeads
	}
	if status == 100 {
		w.st.expect = false
	}
	c.writeFields(w.st.id, status, h, false)
	c.flush()
	return c.werr
}

// WriteHead keeps the head until there is more to send with it.
func (w *writer) WriteHead(h *wire.Head) error {
	c := w.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	if w.head != nil {
		return errTwoHeads
	}
	if h.Status < 200 || h.Status > 999 {
		return fmt.Errorf("write head: HTTP/2 has no final response %d", h.Status)
	}
	w.head = h
	w.st.headSent = true
	w.bodyless = w.st.method == "HEAD" || h.Status == 204 || h.Status == 304
	return nil
}

// sendHead adds the HEADERS frame if that was not done yet. mu is held.
func (w *writer) sendHead(end bool) {
	if w.sent || w.head == nil {
		return
	}
	w.sent = true
	h := w.head.Header
	if !w.bodyless {
		h = withLength(h, w.head.Length)
	}
	w.st.c.writeFields(w.st.id, w.head.Status, h, end || w.bodyless)
}

// Write adds one DATA frame, or more where windows and frame size demand it.
func (w *writer) Write(p []byte) (int, error) {
	c, st := w.st.c, w.st
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.usable(); err != nil {
		return 0, err
	}
	if w.head == nil {
		return 0, errNoHead
	}
	if w.bodyless || len(p) == 0 {
		return len(p), nil
	}
	excess := false
	if left := w.head.Length - w.written; w.head.Length >= 0 && int64(len(p)) > left {
		p, excess = p[:left], true
	}
	w.sendHead(false)
	done := 0
	for done < len(p) {
		n := min(int64(len(p)-done), st.sendWindow, c.sendConn, int64(c.peerFrame), maxData)
		if n <= 0 || len(c.out) >= outHigh {
			if err := w.await(n <= 0); err != nil {
				return done, err
			}
			continue
		}
		st.sendWindow -= n
		c.sendConn -= n
		c.sentData++
		w.hasLast, w.lastAt, w.lastGen = true, len(c.out), c.outGen
		c.out = appendFrameHeader(c.out, int(n), xhttp2.FrameData, 0, st.id)
		c.out = append(c.out, p[done:done+int(n)]...)
		done += int(n)
		w.written += n
	}
	if excess {
		return done, fmt.Errorf("write: more than the %d bytes that were announced", w.head.Length)
	}
	return done, nil
}

// await waits for a window to open or for the buffer to drain. mu is held.
func (w *writer) await(window bool) error {
	c, st := w.st.c, w.st
	if !window {
		c.makeRoom()
		return w.usable()
	}
	c.flush()
	// flush let go of mu: the window may be open by now.
	for st.sendWindow <= 0 || c.sendConn <= 0 {
		if err := w.usable(); err != nil {
			return err
		}
		st.waiting = true
		st.wake.Wait()
		st.waiting = false
	}
	return w.usable()
}

// Flush sends what is buffered.
func (w *writer) Flush() error {
	c := w.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	w.sendHead(false)
	c.flush()
	return c.werr
}

// Finish ends the response.
func (w *writer) Finish(trailer fixtures.Header) error {
	c, st := w.st.c, w.st
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.usable(); err != nil {
		if w.delivered() && len(trailer) == 0 {
			w.over = true
			return nil
		}
		return err
	}
	if w.head == nil {
		return errNoHead
	}
	w.over = true
	if !w.bodyless && w.head.Length > w.written {
		w.sendHead(false)
		c.reset(st, xhttp2.ErrCodeInternal)
		c.flush()
		return fmt.Errorf("finish: %d of %d announced bytes were written", w.written, w.head.Length)
	}
	switch {
	case len(trailer) > 0 && !w.bodyless:
		w.sendHead(false)
		c.writeFields(st.id, 0, trailer, true)
	case !w.sent:
		w.sendHead(true)
	case w.bodyless: // its HEADERS ended the stream
	case w.hasLast && w.lastGen == c.outGen:
		c.out[w.lastAt+4] |= byte(xhttp2.FlagDataEndStream)
	default:
		c.out = appendFrameHeader(c.out, 0, xhttp2.FrameData, xhttp2.FlagDataEndStream, st.id)
	}
	c.localEnd(st)
	c.flush()
	return c.werr
}

// delivered reports whether all that the head announced was handed to the kernel: a
// client that knows the length may leave then (curl does), and has missed nothing. It is
// asked before the response's end is sent, which another goroutine may have parted from
// its last bytes. mu is held.
func (w *writer) delivered() bool {
	c := w.st.c
	return !w.over && w.hasLast && w.lastGen != c.outGen && w.head.Length >= 0 && w.written == w.head.Length && c.werr == nil
}

// Break ends the exchange by force.
func (w *writer) Break(b wire.Break) error {
	c, st := w.st.c, w.st
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	w.over = true
	w.sendHead(false)
	switch b.Kind {
	case wire.Abort:
		c.reset(st, xhttp2.ErrCodeInternal)
		c.flush()
	case wire.Reset:
		c.reset(st, xhttp2.ErrCode(b.Code))
		c.flush()
	case wire.GoAway:
		c.goAway(st, xhttp2.ErrCode(b.Code))
	case wire.Close, wire.Raw:
		c.out = append(c.out, b.Bytes...)
		c.flushAll()
		c.orderly = true
		c.fail(errDone)
	default:
		c.reset(st, xhttp2.ErrCodeInternal)
		c.flush()
		return fmt.Errorf("break: unknown kind %d", b.Kind)
	}
	return c.werr
}

// goAway sends GOAWAY with st as the last stream, resets it, and lets the
// streams before it end. Those behind it were never served, as far as the
// client is to know. mu is held.
func (c *conn) goAway(st *stream, code xhttp2.ErrCode) {
	c.goAwaySent = true
	c.out = appendGoAway(c.out, st.id, code, "")
	c.reset(st, code)
	for _, other := range c.streams {
		if other.id > st.id {
			c.closeStream(other, errAborted)
		}
	}
	c.flush()
	c.endIfDone()
}

// Watch has nothing to do: the connection is always read.
func (w *writer) Watch() {}

// Hijack is not possible: the connection belongs to all its streams.
func (w *writer) Hijack() (net.Conn, error) {
	return nil, fmt.Errorf("hijack an http/2 stream: %w", errors.ErrUnsupported)
}

// done cleans up when the handler has returned.
func (w *writer) done() {
	if !w.over {
		_ = w.Break(wire.Break{Kind: wire.Abort})
	}
	c, st := w.st.c, w.st
	c.mu.Lock()
	defer c.mu.Unlock()
	st.cancel()
	st.forget()
	c.running--
	c.flush()
}

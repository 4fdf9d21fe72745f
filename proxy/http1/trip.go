package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// trip is one exchange on a Conn. It ends when the request was sent and the
// response received, whichever comes last.
type trip struct {
	c      *Conn
	req    *wire.Request
	resp   wire.Response
	body   responseBody
	plan   sendPlan
	reused bool
	// What ends the watch on the request's context: its own, where that is ours.
	ctx  *requestContext
	stop func() bool

	fields fixtures.Header // the array of resp.Header
	lent   bool            // it may be given back: nobody else is at it

	unsent   bool      // the request waits in the buffer; RoundTrip's goroutine's own
	answered bool      // a byte of a response came; RoundTrip's goroutine's own
	keep     bool      // the response lets the connection stay; set before it is handed out
	verdict  chan bool // whether to send a body that waits for 100; nil where none does
	once     sync.Once // for verdict

	mu        sync.Mutex
	sent      bool
	sentAt    time.Time
	sendErr   error
	sourceErr bool // sendErr comes from the request's body, not from the connection
	taken     bool // bytes were read from the request's body
	done      bool // the response was received
	good      bool // and read to its end
}

var tripPool = sync.Pool{New: func() any { return new(trip) }}

// watch has the connection closed when ctx ends; unwatch stops that, and
// reports whether it came first.
func (t *trip) watch(ctx context.Context) {
	if own, ok := ctx.(*requestContext); ok && own.attach(t.c) {
		t.ctx = own
		return
	}
	t.stop = afterFunc(ctx, func() { _ = t.c.Close() })
}

func (t *trip) unwatch() bool {
	if t.ctx != nil {
		return t.ctx.detach(t.c)
	}
	return t.stop()
}

// free gives t back to the pool.
func (t *trip) free() {
	fields := t.fields
	clear(fields[:cap(fields)])
	*t = trip{} // cleared where it stands: with fields it would be made elsewhere, and copied
	t.fields = fields[:0]
	tripPool.Put(t)
}

// send writes the request, or has its body streamed by another goroutine.
func (t *trip) send() error {
	out := &t.c.out
	b, plan, err := appendRequestHead(out.buf, t.req)
	if err != nil {
		t.sendErr, t.sourceErr = err, true // nobody else looks yet
		return err
	}
	t.plan = plan
	body := t.req.Body
	switch {
	case plan.mode == sized && plan.length <= smallBody && !plan.expect && atHand(body, plan.length):
		n := len(b)
		b = slices.Grow(b, int(plan.length))[:n+int(plan.length)]
		t.taken = true
		if _, err := io.ReadFull(body, b[n:]); err != nil {
			t.sendErr, t.sourceErr = bodyError(err), true
			return err
		}
	case plan.mode == chunked && body == nil:
		out.buf = b
		if err := out.addEnd(t.trailer()); err != nil {
			t.sendErr, t.sourceErr = err, true
			return err
		}
		b = out.buf
	case plan.mode != noBody:
		if plan.expect {
			t.verdict = make(chan bool, 1)
		}
		out.buf = b
		t.lent = false
		go t.stream() // ends with the request's body or the connection; see wire.Response.Body
		return nil
	}
	out.buf = b
	if out.vector != nil {
		t.unsent = true // goes out with the first read
		return nil
	}
	err = out.flush()
	out.free()
	t.noteSent(time.Now(), err)
	// After a failed write there may still be an answer to read.
	return nil
}

// noteSent writes down what became of a request that went out in one piece.
func (t *trip) noteSent(at time.Time, err error) {
	t.sent, t.sendErr = true, err
	if err == nil {
		t.sentAt = at
	}
}

// read reads the first bytes of a response, sending the request before where
// that is still to be done: both with one wait.
func (t *trip) read() error {
	c := t.c
	if !t.unsent {
		return c.src.fill()
	}
	t.unsent = false
	sent, err := c.src.fillAfter(c.out.vector, c.out.buf)
	c.out.free()
	t.noteSent(sent.At, sent.Err)
	return err
}

func (t *trip) trailer() fixtures.Header {
	if t.req.Trailer == nil {
		return nil
	}
	return t.req.Trailer()
}

// bodyError says that the request's body gave out.
func bodyError(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read request body: %w", err)
}

// proceed tells a body that waits whether to go. The first call counts.
func (t *trip) proceed(ok bool) {
	if t.verdict != nil {
		t.once.Do(func() { t.verdict <- ok })
	}
}

// stream writes head and body piece by piece, each as it is read.
func (t *trip) stream() {
	source, err := t.streamBody()
	c := t.c
	c.out.free()
	t.mu.Lock()
	t.sent, t.sendErr, t.sourceErr = true, err, source
	if err == nil {
		t.sentAt = time.Now()
	}
	done, good := t.done, t.good
	t.mu.Unlock()
	switch {
	case source || err != nil && done:
		// What was sent cannot be taken back; only the connection's end tells.
		_ = c.Close()
	case done && good:
		c.release(t)
	}
}

var errUnsent = errors.New("answered before the body was asked for")

// streamBody's first result says that the request's side failed, not the connection.
func (t *trip) streamBody() (source bool, err error) {
	out, plan := &t.c.out, t.plan
	if err := out.flush(); err != nil {
		return false, err
	}
	if t.verdict != nil {
		wait := time.NewTimer(expectWait)
		defer wait.Stop()
		select {
		case ok := <-t.verdict:
			if !ok {
				return false, errUnsent
			}
		case <-wait.C:
		}
	}
	const room = 8 // for a chunk's size line before the data
	pooled := pieceBuffer{small: piecePool.Get().(*[pieceBytes]byte)}
	defer func() { pooled.free() }()
	left, full := plan.length, false
	for {
		if full {
			pooled.grow()
		}
		buf := pooled.bytes()
		p := buf[room : len(buf)-2]
		if plan.mode == sized && int64(len(p)) > left {
			p = p[:left]
		}
		n, err := t.req.Body.Read(p)
		full = n == len(p)
		if n > 0 {
			t.mu.Lock()
			t.taken = true
			t.mu.Unlock()
		}
		if left -= int64(n); plan.mode == sized && left == 0 {
			_, err := t.c.nc.Write(p[:n])
			return false, err
		}
		piece := p[:n]
		if plan.mode == chunked && n > 0 {
			var size [room]byte
			line := append(strconv.AppendInt(size[:0], int64(n), 16), "\r\n"...)
			start := room - copy(buf[room-len(line):], line)
			copy(buf[room+n:], "\r\n")
			piece = buf[start : room+n+2]
		}
		if err == io.EOF && plan.mode == chunked {
			if aerr := out.add(piece, ""); aerr != nil {
				return false, aerr
			}
			if terr := out.addEnd(t.trailer()); terr != nil {
				return true, terr
			}
			return false, out.flush()
		}
		if len(piece) > 0 {
			if _, werr := t.c.nc.Write(piece); werr != nil {
				return false, werr
			}
		}
		if err != nil {
			return true, bodyError(err)
		}
	}
}

// received ends the response's side; good where it was read to its end.
func (t *trip) received(good bool) {
	t.mu.Lock()
	if t.done {
		t.mu.Unlock()
		return
	}
	good = good && t.keep
	t.done, t.good = true, good
	sent, err := t.sent, t.sendErr
	t.mu.Unlock()
	switch {
	case !good, sent && err != nil:
		t.unwatch()
		_ = t.c.Close()
	case sent:
		t.c.release(t)
	default:
		// The upstream answered early: soon the last of the body is sent, or
		// the connection is of no more use.
		time.AfterFunc(sendGrace, func() {
			t.mu.Lock()
			sent := t.sent
			t.mu.Unlock()
			if !sent {
				t.unwatch()
				_ = t.c.Close()
			}
		})
	}
}

// responseBody is a response's body as RoundTrip's caller reads it.
type responseBody struct {
	t *trip

	mu     sync.Mutex
	br     bodyReader
	closed bool
}

// Read returns what has arrived, at most one transfer chunk's worth. A body that
// the upstream broke off ends with an error that is io.ErrUnexpectedEOF.
func (b *responseBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed && b.br.err != io.EOF {
		return 0, errors.New("read response body: it was closed")
	}
	if b.br.err != nil {
		return 0, b.br.err
	}
	n, err := b.br.read(p)
	return n, b.ended(err)
}

// Release gives the response back to be used again. It does nothing where that
// cannot be told to be safe.
func (b *responseBody) Release() {
	t := b.t
	if t == nil || !t.lent {
		return
	}
	t.mu.Lock()
	over := t.done && t.sent
	t.mu.Unlock()
	if over {
		t.free()
	}
}

// Arrived reports whether some of the body, or its end, is there already.
func (b *responseBody) Arrived() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed || b.br.err != nil || b.br.src.buffered() > 0
}

// ReadHere reads as Read does, but only what is there already, and only where the
// body, or a chunk of it, is there whole: it never waits. Elsewhere it returns
// nothing, and no error. room is asked for a buffer of at least n bytes.
func (b *responseBody) ReadHere(room func(n int) []byte) (part []byte, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	here := int64(b.br.src.buffered())
	if b.closed || b.br.err != nil || here == 0 || b.br.mode == untilClose || b.br.mode == sized && b.br.left > here {
		return nil, nil
	}
	b.br.src.frozen = true
	part = room(int(here))
	n, err := b.br.read(part)
	b.br.src.frozen = false
	if err == errNotBuffered {
		err = nil
	}
	return part[:n], b.ended(err)
}

// ended has err, with which a read ended, end the exchange, where it is the end.
func (b *responseBody) ended(err error) error {
	if err == nil {
		return nil
	}
	if err != io.EOF {
		var syntax *BadRequestError
		if errors.As(err, &syntax) {
			err = violation(syntax.Reason)
		} else if cause := b.t.c.failed(); cause != nil {
			err = cutShort(cause)
		}
		b.br.err = err
	}
	b.t.received(err == io.EOF)
	return err
}

// Close ends the response. What is left of it is skipped where it has arrived
// already; otherwise the connection is closed. It may be called while another
// goroutine reads.
func (b *responseBody) Close() error {
	if !b.mu.TryLock() {
		b.t.received(false)
		return nil
	}
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if b.br.err == nil {
		b.br.src.frozen = true
		whole := b.br.discard(drainBytes)
		b.br.src.frozen = false
		b.t.received(whole)
	}
	return nil
}

func (b *responseBody) trailers() fixtures.Header {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.br.trailer
}

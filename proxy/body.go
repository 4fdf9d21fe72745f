package proxy

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// framesKept bounds how finely a long body's rhythm is kept: from then on,
// parts that come within frameGap of each other become one frame.
const (
	framesKept = 4096
	frameGap   = time.Millisecond
)

// addFrame notes n more bytes of b at the given time.
func addFrame(b *fixtures.Body, at time.Duration, n int) {
	b.Size += int64(n)
	if k := len(b.Frames); k >= framesKept && at-b.Frames[k-1].At < frameGap {
		b.Frames[k-1].Size += n
		return
	}
	b.Frames = append(b.Frames, fixtures.Frame{At: at, Size: n})
}

// bodyTee passes a request's body on, notes its rhythm, and gives the tape a
// copy. An upstream connection may read it on a goroutine of its own while the
// response is already on its way back: hence the lock.
type bodyTee struct {
	src      io.Reader
	start    time.Time
	length   int64 // declared; -1 for unknown
	trailing bool  // trailers may follow the last byte
	// whole is called once all bytes have come. It is not called after close.
	whole func()

	turn sync.Mutex // held over a read: its bytes are noted in the order they came in

	mu     sync.Mutex
	rec    fixtures.Body
	tape   *tape
	again  bytes.Reader // what was read ahead
	endAt  time.Time    // zero until the end was read
	err    error        // what the source ended with
	waited time.Duration
	since  time.Time // when the read that is under way began; zero where none is
	closed bool
}

func newBodyTee(r *wire.Request, whole func()) *bodyTee {
	b := &bodyTee{src: r.Body, start: r.At, length: r.Length, trailing: r.Trailer != nil, whole: whole}
	b.rec.Chunked = r.Chunked
	return b
}

// putBack makes what was read ahead come again.
func (b *bodyTee) putBack(data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.again.Reset(data)
}

// Read gives what was read ahead, then what the client sends.
func (b *bodyTee) Read(p []byte) (int, error) {
	b.turn.Lock()
	defer b.turn.Unlock()
	if n, err, ok := b.before(p); ok {
		return n, err
	}
	return b.next(p)
}

// next reads from the client. The caller has the turn.
func (b *bodyTee) next(p []byte) (int, error) {
	n, err := b.src.Read(p)
	now := time.Now()

	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return n, err
	}
	b.waited += now.Sub(b.since)
	b.since = time.Time{}
	if n > 0 {
		addFrame(&b.rec, now.Sub(b.start), n)
		if b.tape != nil {
			b.tape.request(p[:n])
		}
	}
	whole := errors.Is(err, io.EOF) || err == nil && b.length >= 0 && b.rec.Size >= b.length
	if whole && !b.trailing {
		err = io.EOF // known before the source says so
	}
	if b.endAt.IsZero() && (whole || err != nil) {
		b.endAt = now
		b.rec.CutShort = !whole
		if whole {
			b.whole()
		}
	}
	b.err = err
	return n, err
}

// before serves a read that the source is not needed for.
func (b *bodyTee) before(p []byte) (n int, err error, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return 0, io.ErrClosedPipe, true
	case b.again.Len() > 0:
		n, _ = b.again.Read(p)
		if b.again.Len() == 0 {
			err = b.err
		}
		return n, err, true
	case b.err != nil:
		return 0, b.err, true
	}
	b.since = time.Now()
	return 0, nil, false
}

// Buffered returns how many bytes, at least, Read can give without waiting:
// http1 sends a small body that is at hand in one write with its head.
func (b *bodyTee) Buffered() int {
	b.mu.Lock()
	n, over := b.again.Len(), b.closed || b.err != nil
	b.mu.Unlock()
	if src, ok := b.src.(interface{ Buffered() int }); ok && !over {
		n += src.Buffered()
	}
	return n
}

// ended tells when the body's end was read, and whether it was.
func (b *bodyTee) ended() (time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.endAt, !b.endAt.IsZero()
}

// waitedFor is how long readers have waited for the client so far.
func (b *bodyTee) waitedFor() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since.IsZero() {
		return b.waited
	}
	return b.waited + time.Since(b.since)
}

// failed returns why the client's body could not be read; nil if it could.
func (b *bodyTee) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(b.err, io.EOF) {
		return nil
	}
	return b.err
}

// record gives t what was read ahead and all that follows.
func (b *bodyTee) record(t *tape) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tape = t
	if n := b.again.Len(); n > 0 {
		data := make([]byte, n)
		_, _ = b.again.ReadAt(data, b.again.Size()-int64(n)) // all of it is there
		t.request(data)
	}
}

// readOn reads what nobody has asked for, up to limit bytes, until the body ends or
// the notes are closed. Whoever still reads it gets it all the same.
func (b *bodyTee) readOn(limit int) {
	buf := make([]byte, min(limit, 16<<10))
	for read := 0; read < limit; {
		n, more := b.ahead(buf)
		if !more {
			return
		}
		read += n
	}
}

// ahead reads once into buf, and keeps that for the next Read.
func (b *bodyTee) ahead(buf []byte) (n int, more bool) {
	b.turn.Lock()
	defer b.turn.Unlock()
	b.mu.Lock()
	over := b.closed || b.err != nil
	if !over {
		b.since = time.Now()
	}
	b.mu.Unlock()
	if over {
		return 0, false
	}
	n, err := b.next(buf)
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > 0 && !b.closed {
		kept := make([]byte, b.again.Len(), b.again.Len()+n)
		_, _ = b.again.Read(kept) // all of it is there
		b.again.Reset(append(kept, buf[:n]...))
	}
	return n, err == nil
}

// close ends the notes: reads that still come in change nothing any more. It
// returns them and when the body ended.
func (b *bodyTee) close() (fixtures.Body, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.endAt.IsZero() {
		// Nobody read it to its end: the answer did not wait for it.
		b.rec.CutShort = true
		return b.rec, 0
	}
	return b.rec, b.endAt.Sub(b.start)
}

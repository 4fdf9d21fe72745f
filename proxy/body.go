package proxy

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
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
	src   io.Reader
	start time.Time

	mu     sync.Mutex
	rec    fixtures.Body
	tape   *tape
	again  bytes.Reader // what was read ahead
	ahead  bool
	endAt  time.Time // zero until the end was read
	err    error     // what the source ended with
	waited time.Duration
	closed bool
}

// putBack makes what was read ahead come again.
func (b *bodyTee) putBack(data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.again.Reset(data)
	b.ahead = len(data) > 0
}

func (b *bodyTee) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.ahead {
		n, _ := b.again.Read(p)
		b.ahead = b.again.Len() > 0
		b.mu.Unlock()
		return n, nil
	}
	if b.err != nil || b.closed {
		err := b.err
		b.mu.Unlock()
		if err == nil {
			err = io.ErrClosedPipe
		}
		return 0, err
	}
	b.mu.Unlock()

	before := time.Now()
	n, err := b.src.Read(p)
	now := time.Now()

	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return n, err
	}
	b.waited += now.Sub(before)
	if n > 0 {
		addFrame(&b.rec, now.Sub(b.start), n)
		if b.tape != nil {
			b.tape.request(p[:n])
		}
	}
	if err != nil {
		b.err, b.endAt = err, now
		b.rec.CutShort = !errors.Is(err, io.EOF)
	}
	return n, err
}

// ended tells when the body's end was read, and whether it was.
func (b *bodyTee) ended() (time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.endAt, !b.endAt.IsZero()
}

// failed returns why the client's body could not be read; nil if it could.
func (b *bodyTee) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil || errors.Is(b.err, io.EOF) {
		return nil
	}
	return b.err
}

// record gives t what was read ahead and all that follows.
func (b *bodyTee) record(t *tape) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tape = t
	if b.ahead {
		data := make([]byte, b.again.Len())
		_, _ = b.again.ReadAt(data, b.again.Size()-int64(b.again.Len()))
		t.request(data)
	}
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

// tape is a Tape behind a lock: request and response may pass at once.
type tape struct {
	mu sync.Mutex
	to Tape
}

func (t *tape) request(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.to.RequestBody(p)
}

func (t *tape) response(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.to.ResponseBody(p)
}

func (t *tape) done(x *Exchange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rec := x.Exchange
	rec.Request.Body.Bytes = nil // the tape has them
	t.to.Done(&rec)
}

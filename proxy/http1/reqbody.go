package http1

import (
	"sync"

	"github.com/understudy-proxy/understudy/fixtures"
)

// requestBody is a request's body as its handler reads it. It may still be
// read by another goroutine when the handler returns; from then on it only fails.
type requestBody struct {
	x *exchange

	mu     sync.Mutex
	br     bodyReader
	wait   bool // the client waits for 100 (Continue)
	closed bool
}

// Read returns what has arrived, at most one transfer chunk's worth.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errBodyClosed
	}
	if b.wait {
		b.wait = false
		b.x.rw.proceed()
	}
	b.x.c.watch.stop()
	n, err := b.br.read(p)
	if err == errInterrupted {
		err = errBodyClosed
	}
	return n, err
}

// Buffered returns how many bytes, at least, Read can give without waiting.
func (b *requestBody) Buffered() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.wait || b.br.err != nil {
		return 0
	}
	b.x.c.watch.stop()
	n := int64(b.br.src.buffered())
	if b.br.mode == sized || b.br.step == inData {
		return int(min(n, b.br.left))
	}
	return 0
}

func (b *requestBody) trailers() fixtures.Header {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.br.trailer
}

// end takes the body from whoever still reads it.
func (b *requestBody) end() {
	if !b.mu.TryLock() {
		b.x.c.dl.interrupt()
		b.mu.Lock()
		b.x.c.dl.resume()
	}
	b.closed = true
	b.mu.Unlock()
}

package proxy

import "sync"

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
	held := x.Request.Body.Bytes
	x.Request.Body.Bytes = nil // the tape has them
	t.to.Done(&x.Exchange)     // which copies it
	x.Request.Body.Bytes = held
}

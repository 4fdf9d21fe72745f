package upstream

import (
	"io"
	"math"
	"sync/atomic"
)

// keptBytes is how much of a request's body is kept for another try: small messages,
// as remote calls mostly are. Larger ones are on their way for longer than a server
// takes to refuse them, and flow.
const keptBytes = 16 << 10

// keptBody is a request's body whose beginning is kept. One goroutine uses it at a time,
// but for settled.
type keptBody struct {
	io.Reader
	kept []byte
	at   int  // what of kept was handed out in this try
	lost bool // what was read is not kept any more
	end  error

	settled atomic.Bool // there will be no other try
}

// Read hands out what is kept, and then reads on.
func (b *keptBody) Read(p []byte) (int, error) {
	if b.at < len(b.kept) {
		n := copy(p, b.kept[b.at:])
		b.at += n
		return n, nil
	}
	if b.end != nil {
		return 0, b.end
	}
	n, err := b.Reader.Read(p)
	if b.lost = b.lost || b.settled.Load() || len(b.kept)+n > keptBytes; b.lost {
		b.kept, b.at = nil, 0
	} else {
		b.kept = append(b.kept, p[:n]...)
		b.at = len(b.kept)
	}
	b.end = err
	return n, err
}

// Rewind has the body begin anew, and reports whether it could: not where it failed.
func (b *keptBody) Rewind() bool {
	b.at = 0
	return !b.lost && (b.end == nil || b.end == io.EOF)
}

// Buffered returns how much can be read without waiting. What does not tell never waits.
func (b *keptBody) Buffered() int {
	rest := len(b.kept) - b.at
	if below, ok := b.Reader.(interface{ Buffered() int }); ok {
		return rest + below.Buffered()
	}
	return math.MaxInt
}

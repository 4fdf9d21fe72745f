package recorder

import (
	"sync/atomic"

	"github.com/understudy-proxy/understudy/fixtures"
)

// budget counts the bytes that the recorder holds in memory. The last
// sixteenth is kept for the names of what was lost, so that a flood of bodies
// cannot crowd out the word that there was one.
type budget struct {
	limit int64
	held  atomic.Int64
}

// take reserves n bytes for an exchange, and reports whether there was room.
func (b *budget) take(n int64) bool { return b.takeUpTo(n, b.limit-b.limit/16) }

// takeName reserves n bytes for the name of a lost exchange.
func (b *budget) takeName(n int64) bool { return b.takeUpTo(n, b.limit) }

// roomy reports whether at least half is free. Only then does a body begin to
// go to a file: where the disk does not keep up, some are kept whole, and not all
// begun and none ended.
func (b *budget) roomy() bool { return b.held.Load() <= b.limit/2 }

func (b *budget) takeUpTo(n, limit int64) bool {
	if b.held.Add(n) > limit {
		b.held.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.held.Add(-n) }

// weight is about how many bytes x takes in memory, bodies' bytes not counted:
// these are counted as they come.
func weight(x *fixtures.Exchange) int64 {
	const exchange, field, frame = 1024, 32, 16
	n := exchange + len(x.Client) + len(x.Error) +
		len(x.Request.Method) + len(x.Request.Host) + len(x.Request.Target) + len(x.Response.Reason) +
		frame*(len(x.Request.Body.Frames)+len(x.Response.Body.Frames))
	add := func(h fixtures.Header) {
		for i := range h {
			n += field + len(h[i].Name) + len(h[i].Value)
		}
	}
	add(x.Request.Header)
	add(x.Request.Trailer)
	add(x.Response.Header)
	add(x.Response.Trailer)
	for i := range x.Response.Informational {
		n += field
		add(x.Response.Informational[i].Header)
	}
	return int64(n)
}

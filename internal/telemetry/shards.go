package telemetry

import (
	"sync"
	"sync/atomic"
)

// shards is into how many parts the counters of exchanges are divided.
const shards = 8

// tokens keep a processor at one shard: a pool's objects mostly stay where they
// were. Counters picked at random would travel between the cores' caches with
// every exchange.
var (
	tokens    = sync.Pool{New: func() any { return &token{nextToken.Add(1) % shards} }}
	nextToken atomic.Uint32
)

type token struct{ shard uint32 }

// spread holds one T for each shard. The zero value is ready.
type spread[T any] struct {
	parts [shards]part[T]
}

type part[T any] struct {
	mu sync.Mutex
	v  T
	_  [64]byte // keeps two parts off one cache line
}

// do calls f with a part that nobody else has meanwhile.
func (s *spread[T]) do(f func(v *T)) {
	t := tokens.Get().(*token)
	p := &s.parts[t.shard]
	p.mu.Lock()
	f(&p.v)
	p.mu.Unlock()
	tokens.Put(t)
}

// each calls f with each part in turn.
func (s *spread[T]) each(f func(v *T)) {
	for i := range s.parts {
		p := &s.parts[i]
		p.mu.Lock()
		f(&p.v)
		p.mu.Unlock()
	}
}

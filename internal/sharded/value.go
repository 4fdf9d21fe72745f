// Package sharded adds up what goes on in many goroutines, in parts that stay with a
// processor each: what all of them wrote to would travel between the cores' caches.
package sharded

import (
	"sync"
	"sync/atomic"
)

// shards is into how many parts a value is divided.
const shards = 8

// tokens keep a processor at one shard: a pool's objects mostly stay where they were.
// Shards picked at random would travel with every use.
var (
	tokens    = sync.Pool{New: func() any { return &token{nextToken.Add(1) % shards} }}
	nextToken atomic.Uint32
)

type token struct{ shard uint32 }

// Value holds one T for each shard. The zero value is ready.
type Value[T any] struct {
	parts [shards]part[T]
}

type part[T any] struct {
	mu sync.Mutex
	v  T
	_  [64]byte // keeps two parts off one cache line
}

// do calls f while nobody else has the part, and gives it back whatever f does.
func (p *part[T]) do(f func(v *T)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.v)
}

// Do calls f with a part that nobody else has meanwhile.
func (s *Value[T]) Do(f func(v *T)) {
	t := tokens.Get().(*token)
	s.parts[t.shard].do(f)
	tokens.Put(t)
}

// Each calls f with each part in turn, which nobody else has meanwhile.
func (s *Value[T]) Each(f func(v *T)) {
	for i := range s.parts {
		s.parts[i].do(f)
	}
}

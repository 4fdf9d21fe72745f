package admin

import (
	"sync"
	"sync/atomic"
)

// Ring keeps the latest values pushed into it. Push and Latest may be called from
// many goroutines; a Push waits at most for another one that is a whole round
// ahead or behind, or for a Latest that copies the same slot.
type Ring[T any] struct {
	next  atomic.Uint64 // the number of the next value; also how many there were
	slots []slot[T]
}

// slot holds a value in place: a push allocates nothing (BenchmarkRingPush).
type slot[T any] struct {
	mu    sync.Mutex
	after uint64 // the value's number and 1; 0 for none
	value T
}

// NewRing makes a ring for the latest size values, at least 1.
func NewRing[T any](size int) *Ring[T] {
	return &Ring[T]{slots: make([]slot[T], max(size, 1))}
}

// Push adds v; the oldest value makes room for it.
func (r *Ring[T]) Push(v T) { r.PushFunc(func(to *T) { *to = v }) }

// PushFunc adds what fill writes over the oldest value; fill must be quick, and
// must not use the ring.
func (r *Ring[T]) PushFunc(fill func(to *T)) {
	after := r.next.Add(1)
	s := &r.slots[(after-1)%uint64(len(r.slots))]
	s.mu.Lock()
	if s.after < after { // else a later one was quicker
		s.after = after
		fill(&s.value)
	}
	s.mu.Unlock()
}

// Total is how many values were ever pushed.
func (r *Ring[T]) Total() uint64 { return r.next.Load() }

// Latest returns up to n values for which keep is true, the latest first; a nil
// keep is true for all, and one may change what it is shown. A value whose Push
// has not returned may be missing. The result is never nil.
func (r *Ring[T]) Latest(n int, keep func(*T) bool) []T {
	out := make([]T, 0, min(max(n, 0), len(r.slots)))
	end := r.next.Load()
	for age := uint64(0); age < min(end, uint64(len(r.slots))) && len(out) < n; age++ {
		after := end - age
		s := &r.slots[(after-1)%uint64(len(r.slots))]
		s.mu.Lock()
		value, there := s.value, s.after == after
		s.mu.Unlock()
		// Another number: overtaken by a later Push, or not stored yet.
		if there && (keep == nil || keep(&value)) {
			out = append(out, value)
		}
	}
	return out
}

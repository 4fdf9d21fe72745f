package admin

import "sync/atomic"

// Ring keeps the latest values pushed into it. Push and Latest may be called from
// many goroutines and take no lock.
type Ring[T any] struct {
	next  atomic.Uint64 // the number of the next value; also how many there were
	slots []atomic.Pointer[numbered[T]]
}

type numbered[T any] struct {
	number uint64
	value  T
}

// NewRing makes a ring for the latest size values, at least 1.
func NewRing[T any](size int) *Ring[T] {
	return &Ring[T]{slots: make([]atomic.Pointer[numbered[T]], max(size, 1))}
}

// Push adds v; the oldest value makes room for it.
func (r *Ring[T]) Push(v T) {
	n := &numbered[T]{value: v}
	n.number = r.next.Add(1) - 1
	r.slots[n.number%uint64(len(r.slots))].Store(n)
}

// Total is how many values were ever pushed.
func (r *Ring[T]) Total() uint64 { return r.next.Load() }

// Cap is how many values are kept.
func (r *Ring[T]) Cap() int { return len(r.slots) }

// Latest returns up to n values for which keep is true, the latest first; a nil
// keep is true for all. A value whose Push has not returned may be missing.
// The result is never nil.
func (r *Ring[T]) Latest(n int, keep func(*T) bool) []T {
	out := make([]T, 0, min(max(n, 0), len(r.slots)))
	end := r.next.Load()
	for age := uint64(1); age <= min(end, uint64(len(r.slots))) && len(out) < n; age++ {
		number := end - age
		slot := r.slots[number%uint64(len(r.slots))].Load()
		// Another number: overtaken by a later Push, or not stored yet.
		if slot == nil || slot.number != number {
			continue
		}
		if keep == nil || keep(&slot.value) {
			out = append(out, slot.value)
		}
	}
	return out
}

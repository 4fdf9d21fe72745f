package emulator

// fifo is a queue in a ring, which grows by doubling.
type fifo[T any] struct {
	ring  []Due[T]
	first int
	n     int
}

func (f *fifo[T]) push(d Due[T]) {
	if f.n == len(f.ring) {
		more := make([]Due[T], max(64, 2*len(f.ring)))
		k := copy(more, f.ring[f.first:])
		copy(more[k:], f.ring[:f.first])
		f.ring, f.first = more, 0
	}
	f.ring[(f.first+f.n)&(len(f.ring)-1)] = d
	f.n++
}

// front is the oldest, nil for none. It stays the queue's.
func (f *fifo[T]) front() *Due[T] {
	if f.n == 0 {
		return nil
	}
	return &f.ring[f.first]
}

// pop takes the oldest out; there must be one.
func (f *fifo[T]) pop() Due[T] {
	d := f.ring[f.first]
	f.ring[f.first] = Due[T]{} // what it points to is nobody's here any more
	f.first = (f.first + 1) & (len(f.ring) - 1)
	f.n--
	return d
}

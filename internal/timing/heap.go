package timing

// deadlines is a binary min-heap of waiters by their moment. A waiter knows its
// place, so that one who leaves is taken out in O(log n).
type deadlines []*waiter

// outside is the index of a waiter in no heap.
const outside = -1

func (h *deadlines) push(w *waiter) {
	w.index = len(*h)
	*h = append(*h, w)
	h.up(w.index)
}

// pop takes out the earliest waiter. The heap must not be empty.
func (h *deadlines) pop() *waiter {
	w := (*h)[0]
	h.remove(w)
	return w
}

// remove takes out a waiter of this heap.
func (h *deadlines) remove(w *waiter) {
	i, last := w.index, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil // the pool may drop it; the heap must not hold it
	*h = (*h)[:last]
	w.index = outside
	if i < last {
		h.down(i)
		h.up(i)
	}
}

func (h deadlines) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].at <= h[i].at {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h deadlines) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if right := child + 1; right < len(h) && h[right].at < h[child].at {
			child = right
		}
		if h[i].at <= h[child].at {
			return
		}
		h.swap(i, child)
		i = child
	}
}

func (h deadlines) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

package timing

import (
	"slices"
	"testing"
)

// FuzzDeadlines holds the heap to its law: whatever is put in and taken out, it
// gives the waiters back by their moments, each once, and knows their places.
// Of a byte, the lowest two bits say what to do, the rest with which moment.
func FuzzDeadlines(f *testing.F) {
	f.Add([]byte{0x40, 0x20, 0x60, 0x01, 0x80, 0x02, 0x01, 0x01})
	f.Add([]byte{0x04, 0x04, 0x04, 0x03, 0x07, 0x01})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var h deadlines
		var model []*waiter // ascending
		for _, step := range steps {
			switch arg := int(step >> 2); {
			case step&3 == 1 && len(model) > 0:
				w := h.pop()
				if w.at != model[0].at || w.index != outside {
					t.Fatalf("pop() = waiter of %d at place %d, want of %d at %d", w.at, w.index, model[0].at, outside)
				}
				i := slices.Index(model, w)
				model = slices.Delete(model, i, i+1)
			case step&3 == 2 && len(model) > 0:
				i := arg % len(model)
				h.remove(model[i])
				if model[i].index != outside {
					t.Fatalf("place of a removed waiter = %d, want %d", model[i].index, outside)
				}
				model = slices.Delete(model, i, i+1)
			case step&1 == 0 || step == 3:
				w := &waiter{at: int64(arg), index: outside}
				h.push(w)
				i, _ := slices.BinarySearchFunc(model, w, func(a, b *waiter) int { return int(a.at - b.at) })
				model = slices.Insert(model, i, w)
			}
			if len(h) != len(model) {
				t.Fatalf("heap holds %d waiters, want %d", len(h), len(model))
			}
			for i, w := range h {
				if w.index != i {
					t.Fatalf("waiter at place %d believes it is at %d", i, w.index)
				}
			}
		}
		for _, want := range model {
			if got := h.pop().at; got != want.at {
				t.Fatalf("pop() = waiter of %d, want of %d", got, want.at)
			}
		}
	})
}

package sharded

import (
	"runtime"
	"sync"
	"testing"
)

// All that was posted is there whenever somebody looks, in whatever part and batch.
func TestJournal(t *testing.T) {
	total := func(j *Journal[int, []int]) (n, sum int) {
		j.Each(func(part *[]int) {
			for _, v := range *part {
				n, sum = n+1, sum+v
			}
		})
		return n, sum
	}
	j := NewJournal(func(to *[]int, entries []int) { *to = append(*to, entries...) })
	if n, _ := total(j); n != 0 {
		t.Errorf("an empty journal has %d entries, want none", n)
	}
	want := 0
	for v := range 3*batch + 1 {
		j.Post(&v)
		want += v
		if n, sum := total(j); n != v+1 || sum != want {
			t.Fatalf("after %d posts there are %d entries with the sum %d, want %d", v+1, n, sum, want)
		}
	}
	j.Do(func(part *[]int) { *part = append(*part, 1000) })
	if _, sum := total(j); sum != want+1000 {
		t.Errorf("sum = %d after Do added 1000, want %d", sum, want+1000)
	}
}

// What entries refer to is let go of when they are added.
func TestJournalKeepsNothing(t *testing.T) {
	j := NewJournal(func(to *int, entries []*int) { *to += len(entries) })
	for v := range batch - 1 {
		e := &v
		j.Post(&e)
	}
	added := 0
	j.Each(func(n *int) { added += *n })
	if added != batch-1 {
		t.Errorf("%d of %d entries were added", added, batch-1)
	}
	j.parts.Each(func(p *journalPart[*int, int]) {
		for i, e := range p.waiting {
			if e != nil {
				t.Errorf("entry %d is still held when it was added", i)
			}
		}
	})
}

// A panic in add loses its entries, and neither later ones nor the part.
func TestJournalGoesOn(t *testing.T) {
	fails := true
	j := NewJournal(func(to *int, entries []int) {
		if fails {
			panic("add")
		}
		*to += len(entries)
	})
	panics := func(f func()) (panicked bool) {
		defer func() { panicked = recover() != nil }()
		f()
		return false
	}
	v, failed := 1, 0
	for range 20 * batch { // whatever parts they come to
		if panics(func() { j.Post(&v) }) {
			failed++
		}
	}
	if failed == 0 {
		t.Error("no Post panicked, want those that fill a part to")
	}
	for range shards {
		panics(func() { j.Each(func(*int) {}) }) // what is left waiting, one part after the other
	}
	fails = false
	for range batch {
		j.Post(&v)
	}
	sum := 0
	j.Each(func(n *int) { sum += *n })
	if sum != batch {
		t.Errorf("%d entries after the panics were added, want %d", sum, batch)
	}
}

func TestManyAtOnce(t *testing.T) {
	const each = 10_000
	j := NewJournal(func(to *int, entries []int) {
		for _, v := range entries {
			*to += v
		}
	})
	var v Value[int]
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range each {
				one := 1
				j.Post(&one)
				v.Do(func(n *int) { *n++ })
			}
		})
	}
	all.Go(func() {
		for last := 0; last < 4*each; {
			now := 0
			j.Each(func(n *int) { now += *n })
			if now < last {
				t.Errorf("the sum went back from %d to %d", last, now)
				return
			}
			last = now
			runtime.Gosched()
		}
	})
	all.Wait()
	sum := 0
	v.Each(func(n *int) { sum += *n })
	if sum != 4*each {
		t.Errorf("the value is %d, want %d", sum, 4*each)
	}
}

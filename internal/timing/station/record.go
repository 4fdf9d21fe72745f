package station

import (
	"cmp"
	"slices"
	"time"
)

// horizon bounds instants, so that sums and differences of a few cannot run over: 18 years.
const horizon = time.Duration(1 << 59)

// record is visits in order of arrival, with At ≤ First ≤ End, all within the horizon and
// counted from the first arrival.
type record struct {
	visits []Visit
	base   time.Duration // the first arrival
	from   []int         // from[i] is where visits[i] was in what newRecord got
	// byFirst and byEnd are the visits in order of First and of End; the same slice where
	// no answer has a tail.
	byFirst, byEnd []int32
	// A closed record is one whose clients wait for an answer before they ask again. Then
	// next[i] is the visit which the client of visits[i] makes think[next[i]] after the
	// answer, -1 where there is none, and begins says that nobody's answer is waited for.
	// A visit that is anchored begins no earlier than it was recorded.
	closed   bool
	next     []int32
	think    []time.Duration
	begins   []bool
	anchored []bool
}

// newRecord copies visits and puts them in order; what cannot be is mended: an answer
// before its request comes at once, an end before the answer with it.
func newRecord(visits []Visit) *record {
	r := &record{visits: make([]Visit, len(visits)), from: make([]int, len(visits))}
	for i := range visits {
		r.from[i] = i
	}
	at := func(i int) time.Duration { return min(max(visits[i].At, -horizon), horizon) }
	byAt := func(a, b int) int { return cmp.Compare(at(a), at(b)) }
	if !slices.IsSortedFunc(r.from, byAt) {
		slices.SortStableFunc(r.from, byAt)
	}
	if len(visits) > 0 {
		r.base = at(r.from[0])
	}
	tails := false
	for i, j := range r.from {
		v := visits[j]
		v.At = at(j) - r.base
		v.First = max(min(v.First, horizon)-r.base, v.At)
		v.End = max(min(v.End, horizon)-r.base, v.First)
		tails = tails || v.End > v.First
		r.visits[i] = v
	}
	r.byFirst = r.orderBy(func(v *Visit) time.Duration { return v.First })
	r.byEnd = r.byFirst
	if tails {
		r.byEnd = r.orderBy(func(v *Visit) time.Duration { return v.End })
	}
	return r
}

func (r *record) orderBy(key func(v *Visit) time.Duration) []int32 {
	order := make([]int32, len(r.visits))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(key(&r.visits[a]), key(&r.visits[b])) })
	return order
}

// latency is how long the answer's first byte took.
func (v *Visit) latency() time.Duration { return v.First - v.At }

// inFlight returns for each visit how many are under way when it comes, itself included.
func (r *record) inFlight() []int32 {
	counts := make([]int32, len(r.visits))
	gone := 0
	for i := range r.visits {
		for gone < len(r.byEnd) && r.visits[r.byEnd[gone]].End <= r.visits[i].At {
			gone++
		}
		counts[i] = int32(max(i+1-gone, 1))
	}
	return counts
}

// close makes r a closed record; a client's first visit in a stretch begins when it was
// recorded, lest what a replay gains or loses adds up from stretch to stretch.
func (r *record) close(stretch []int32) {
	n := len(r.visits)
	r.closed = true
	r.next, r.think = make([]int32, n), make([]time.Duration, n)
	r.begins, r.anchored = make([]bool, n), make([]bool, n)
	last := map[uint64]int32{}
	for i := range r.visits {
		v := &r.visits[i]
		r.next[i] = -1
		before, known := last[v.Source]
		if v.Source == 0 {
			known = false
		}
		if known {
			r.next[before] = int32(i)
			r.think[i] = max(v.At-r.visits[before].End, 0)
			r.anchored[i] = stretch != nil && stretch[i] != stretch[before]
		}
		r.begins[i] = !known
		last[v.Source] = int32(i)
	}
}

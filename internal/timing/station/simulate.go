package station

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Simulate returns visits with the First and End that they would have had at s with these
// demands, which belong to them by index; what an answer takes beyond its first byte is kept.
// They arrive when they did. visits may be in any order and are kept.
func (s *Station) Simulate(visits []Visit, demands []time.Duration) []Visit {
	return s.simulate(newRecord(visits), demands)
}

// SimulateClosed is Simulate of clients that wait: each Source but 0 sends a visit as long
// after its last one's End as it did, so that At may change, too.
func (s *Station) SimulateClosed(visits []Visit, demands []time.Duration) []Visit {
	r := newRecord(visits)
	r.close(nil)
	return s.simulate(r, demands)
}

func (s *Station) simulate(r *record, demands []time.Duration) []Visit {
	x := make([]time.Duration, len(r.visits))
	for i, j := range r.from {
		x[i] = min(max(demands[j], 0), horizon)
	}
	sorted := make([]Visit, len(x))
	newBench(r).simulate(s, x, sorted)
	out := make([]Visit, len(x))
	for i, j := range r.from {
		v := sorted[i]
		v.At += r.base
		v.First += r.base
		v.End += r.base
		out[j] = v
	}
	return out
}

// simulate puts in out the record's visits as they are at s with demands x, in [0, horizon].
func (b *bench) simulate(s *Station, x []time.Duration, out []Visit) {
	copy(out, b.r.visits)
	b.service = resize(b.service, len(x))
	b.feed = b.feed[:0]
	for i := range out {
		if b.r.closed && !b.r.begins[i] {
			continue
		}
		b.arrive(s, x, out, int32(i), out[i].At)
	}
	byAt := func(a, b event) int {
		if c := cmp.Compare(a.at, b.at); c != 0 {
			return c
		}
		return cmp.Compare(a.i, b.i)
	}
	if !slices.IsSortedFunc(b.feed, byAt) { // what is sorted is a heap, too
		slices.SortFunc(b.feed, byAt)
	}
	if s.Discipline == PS && s.Servers > 0 {
		b.simulatePS(s, x, out)
	} else {
		b.simulateFIFO(s, x, out)
	}
}

// arrive lets a visit begin: it is fed to the station or, where that has nothing to do for
// it, answered.
func (b *bench) arrive(s *Station, x []time.Duration, out []Visit, i int32, at time.Duration) {
	for {
		v := &out[i]
		tail := b.r.visits[i].End - b.r.visits[i].First
		delay, service := s.Split(x[i])
		b.service[i] = service
		if v.At = at; service > 0 && s.Servers > 0 {
			e := event{float64(at + delay), i}
			if b.r.closed {
				(*events)(&b.feed).push(e)
			} else {
				b.feed = append(b.feed, e)
			}
			return
		}
		v.First = soonest(at + delay + service)
		v.End = soonest(v.First + tail)
		var more bool
		if i, at, more = b.follows(i, v.End); !more {
			return
		}
	}
}

// follows returns the visit that the client of i makes after its answer's end, and when.
func (b *bench) follows(i int32, end time.Duration) (next int32, at time.Duration, more bool) {
	if !b.r.closed || b.r.next[i] < 0 {
		return 0, 0, false
	}
	next = b.r.next[i]
	if b.r.anchored[next] {
		return next, max(b.r.visits[next].At, end), true
	}
	return next, soonest(end + b.r.think[next]), true
}

// soonest keeps sums of instants from running over.
func soonest(at time.Duration) time.Duration { return min(at, 4*horizon) }

// leave ends a visit that was at the station.
func (b *bench) leave(s *Station, x []time.Duration, out []Visit, i int32, first time.Duration) (end time.Duration) {
	v := &out[i]
	v.First = soonest(first)
	v.End = soonest(v.First + b.r.visits[i].End - b.r.visits[i].First)
	if next, at, more := b.follows(i, v.End); more {
		b.arrive(s, x, out, next, at)
	}
	return v.End
}

func (b *bench) simulateFIFO(s *Station, x []time.Duration, out []Visit) {
	b.servers = servers{s.Servers, b.servers.free[:0]}
	for k := 0; ; k++ {
		var e event
		switch {
		case b.r.closed && len(b.feed) > 0:
			e = (*events)(&b.feed).pop()
		case !b.r.closed && k < len(b.feed):
			e = b.feed[k]
		default:
			return
		}
		v := &out[e.i]
		delay := x[e.i] - b.service[e.i]
		start := time.Duration(b.servers.start(int64(v.At + delay)))
		// The server is held until the end, which the client may act upon: it comes
		// back no earlier than that, so that the order of the feed holds.
		first := soonest(start + b.service[e.i])
		b.servers.hold(int64(soonest(first + b.r.visits[e.i].End - b.r.visits[e.i].First)))
		b.leave(s, x, out, e.i, first)
	}
}

func (b *bench) simulatePS(s *Station, x []time.Duration, out []Visit) {
	b.virtual, b.ends = b.virtual[:0], b.ends[:0]
	most := float64(s.Servers)
	var now, virtual float64
	k := 0
	for {
		there := float64(len(b.virtual) + len(b.ends))
		rate := 1.0
		if there > most {
			rate = most / there
		}
		in, first, end := math.Inf(1), math.Inf(1), math.Inf(1)
		if b.r.closed {
			if len(b.feed) > 0 {
				in = b.feed[0].at
			}
		} else if k < len(b.feed) {
			in = b.feed[k].at
		}
		if len(b.virtual) > 0 {
			first = now + max(b.virtual[0].at-virtual, 0)/rate
		}
		if len(b.ends) > 0 {
			end = b.ends[0].at
		}
		at := min(in, first, end)
		if math.IsInf(at, 1) {
			return
		}
		if at > now {
			virtual += (at - now) * rate
			now = at
		}
		switch {
		case end == at:
			b.ends.pop()
		case first == at:
			e := b.virtual.pop()
			virtual = max(virtual, e.at)
			v := &out[e.i]
			moment := max(time.Duration(math.Round(now)), v.At)
			if end := b.leave(s, x, out, e.i, moment); end > v.First {
				b.ends.push(event{float64(end), e.i})
			}
		default:
			var e event
			if b.r.closed {
				e = (*events)(&b.feed).pop()
			} else {
				e = b.feed[k]
				k++
			}
			b.virtual.push(event{virtual + float64(b.service[e.i]), e.i})
		}
	}
}

package station

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// violated stands for the demand of a visit that the station cannot have served as it was
// recorded.
const violated = time.Duration(-1)

// passes is how often an inversion is repeated in which the delay before the station
// depends on the demand, and so the order there.
const passes = 4

// Demands returns what each of visits demanded, in their order, if they were at s: the
// inverse of Simulate. violations counts those that cannot have been: they were answered
// before a server was free for them. Their demand is the delay before the station alone.
// visits may be in any order and are kept.
//
// One server is taken to have served in the order of its answers, also where that is not
// the order of arrival: an event loop goes through its connections as it finds them. Then
// Simulate, which serves in order of arrival, has the same work to do, but others wait.
// Source: Kiefer & Wolfowitz, "On the theory of queues with many servers", Transactions of
// the AMS 1955.
func (s *Station) Demands(visits []Visit) (demands []time.Duration, violations int) {
	r := newRecord(visits)
	x := make([]time.Duration, len(visits))
	violations = newBench(r).invert(s, x)
	demands = make([]time.Duration, len(visits))
	for i, j := range r.from {
		if x[i] == violated {
			x[i] = min(s.fixed(), r.visits[i].latency())
		}
		demands[j] = x[i]
	}
	return demands, violations
}

// fixed is the delay before the station of who gets there, where it does not depend on the
// demand.
func (s *Station) fixed() time.Duration {
	if s.Share != 0 {
		return 0
	}
	return min(max(s.Fixed, 0), horizon)
}

// share is what part of a demand is service, in (0, 1]; 0 where the delay is fixed.
func (s *Station) share() float64 {
	if !(s.Share > 0) {
		return 0
	}
	return min(s.Share, 1)
}

// bench simulates and inverts one record under one station after the other; it keeps what
// memory that takes.
type bench struct {
	r       *record
	servers servers
	feed    []event // of arrivals at the station
	virtual events  // answers' first bytes, in virtual time
	ends    events
	service []time.Duration
	// For the inversion of processor sharing: when visits came to the station, and the
	// virtual time at moments.
	came  []float64
	order []int32
	times []float64
	rates []float64
	sums  []float64
}

func newBench(r *record) *bench { return &bench{r: r} }

// invert puts the demands of the record's visits in x. It returns how many are violated.
func (b *bench) invert(s *Station, x []time.Duration) (violations int) {
	switch {
	case s.Servers <= 0:
		for i := range x {
			x[i] = b.r.visits[i].latency()
		}
		return 0
	case s.Discipline == PS && s.share() > 0 && s.share() < 1:
		b.invertPSShare(s, x)
		return 0
	case s.Discipline == PS:
		b.invertPS(s, x)
		return 0
	case s.share() > 0 && s.share() < 1:
		return b.invertFIFOShare(s, x)
	}
	return b.invertFIFO(s, x)
}

func (b *bench) invertFIFO(s *Station, x []time.Duration) (violations int) {
	fixed := s.fixed()
	b.servers = servers{s.Servers, b.servers.free[:0]}
	for i := range b.r.visits {
		if s.Servers == 1 {
			i = int(b.r.byFirst[i])
		}
		v := &b.r.visits[i]
		if x[i] = v.latency(); x[i] <= fixed {
			continue
		}
		service := v.First - time.Duration(b.servers.start(int64(v.At+fixed)))
		if service <= 0 {
			x[i] = violated
			violations++
			continue
		}
		x[i] = fixed + service
		b.servers.hold(int64(v.End))
	}
	return violations
}

// invertFIFOShare goes through visits in the order in which they came to the station, which
// is that of a guess at first.
func (b *bench) invertFIFOShare(s *Station, x []time.Duration) (violations int) {
	share := s.share()
	n := len(b.r.visits)
	b.came = resize(b.came, n)
	b.order = resize(b.order, n)
	for i := range n {
		b.order[i] = int32(i)
		x[i] = b.r.visits[i].latency()
	}
	if s.Servers == 1 {
		copy(b.order, b.r.byFirst)
	}
	for range passes {
		for i := range n {
			b.came[i] = float64(b.r.visits[i].At) + (1-share)*float64(max(x[i], 0))
		}
		if s.Servers > 1 {
			b.sortByCame()
		}
		b.servers = servers{s.Servers, b.servers.free[:0]}
		violations = 0
		for _, i := range b.order {
			v := &b.r.visits[i]
			latency := v.latency()
			if latency == 0 {
				x[i] = 0
				continue
			}
			came := v.At + time.Duration((1-share)*float64(latency))
			start := time.Duration(b.servers.start(int64(came)))
			switch service := v.First - start; {
			case start == came:
				x[i] = latency
			case service <= 0:
				x[i] = violated
				violations++
				continue
			default:
				x[i] = min(time.Duration(float64(service)/share), latency)
			}
			b.servers.hold(int64(v.End))
		}
	}
	return violations
}

func (b *bench) sortByCame() {
	byCame := func(i, j int32) int {
		if c := cmp.Compare(b.came[i], b.came[j]); c != 0 {
			return c
		}
		return cmp.Compare(i, j)
	}
	if !slices.IsSortedFunc(b.order, byCame) {
		slices.SortFunc(b.order, byCame)
	}
}

// invertPS reads services off the virtual time, which passes at the rate at which each who
// is there is served.
func (b *bench) invertPS(s *Station, x []time.Duration) {
	fixed := s.fixed()
	visits, most := b.r.visits, float64(s.Servers)
	b.came = resize(b.came, len(visits)) // here: the virtual time at which each came
	var now, virtual, there float64
	until := func(at time.Duration) {
		t := float64(at)
		if t > now {
			if there > most {
				virtual += (t - now) * most / there
			} else {
				virtual += t - now
			}
			now = t
		}
	}
	visiting := func(i int32) bool { return visits[i].latency() > fixed }
	in, first, end := 0, 0, 0
	for first < len(visits) || end < len(visits) {
		// What happens next: of those at once, answers before ends before arrivals.
		at, what := 4*horizon, 0
		if first < len(visits) {
			at = visits[b.r.byFirst[first]].First
		}
		if end < len(visits) && visits[b.r.byEnd[end]].End < at {
			at, what = visits[b.r.byEnd[end]].End, 1
		}
		if in < len(visits) && visits[in].At+fixed < at {
			at, what = visits[in].At+fixed, 2
		}
		switch what {
		case 0:
			i := b.r.byFirst[first]
			first++
			if x[i] = visits[i].latency(); visiting(i) {
				until(at)
				x[i] = fixed + max(time.Duration(math.Round(virtual-b.came[i])), 1)
			}
		case 1:
			if i := b.r.byEnd[end]; visiting(i) {
				until(at)
				there--
			}
			end++
		case 2:
			if visiting(int32(in)) {
				until(at)
				there++
				b.came[in] = virtual
			}
			in++
		}
	}
}

// invertPSShare looks, for each visit, for the moment at which it must have come to the
// station to be served its share until its answer.
func (b *bench) invertPSShare(s *Station, x []time.Duration) {
	share := s.share()
	visits := b.r.visits
	n := len(visits)
	b.came = resize(b.came, n)
	b.order = resize(b.order, n)
	for i := range n {
		b.order[i] = int32(i)
		x[i] = visits[i].latency()
	}
	slope := share / (1 - share)
	for range passes {
		for i := range n {
			b.came[i] = float64(visits[i].At) + (1-share)*float64(x[i])
		}
		b.sortByCame()
		b.virtualTime(float64(s.Servers))
		for i := range n {
			v := &visits[i]
			if x[i] == 0 || v.latency() == 0 {
				x[i] = 0
				continue
			}
			from, to := float64(v.At), float64(v.First)
			target := b.virtualAt(to)
			// virtualAt(c) + slope·(c-from) = target has one solution c: the left side rises.
			lo, _ := slices.BinarySearch(b.times, from)
			hi, _ := slices.BinarySearch(b.times, to)
			k := lo + searchFloat(hi-lo, func(k int) bool {
				return b.sums[lo+k]+slope*(b.times[lo+k]-from) >= target
			})
			at := max(from, firstOf(b.times, k-1, from))
			rate := 1.0
			if k > 0 {
				rate = b.rates[k-1]
			}
			came := at + (target-b.virtualAt(at)-slope*(at-from))/(rate+slope)
			came = min(max(came, from), to)
			x[i] = min(max(time.Duration(math.Round((came-from)/(1-share))), 1), v.latency())
		}
	}
}

func firstOf(times []float64, k int, otherwise float64) float64 {
	if k < 0 || k >= len(times) {
		return otherwise
	}
	return times[k]
}

// searchFloat is sort.Search.
func searchFloat(n int, f func(int) bool) int {
	lo, hi := 0, n
	for lo < hi {
		if mid := (lo + hi) / 2; f(mid) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// virtualTime lays out the virtual time: from times[k] on, where it is sums[k], it passes
// at rates[k].
func (b *bench) virtualTime(most float64) {
	b.times, b.rates, b.sums = b.times[:0], b.rates[:0], b.sums[:0]
	var virtual, there float64
	in, end := 0, 0
	for in < len(b.order) || end < len(b.order) {
		var t float64
		step := 1.0
		if end < len(b.order) {
			t = float64(b.r.visits[b.r.byEnd[end]].End)
		}
		if end < len(b.order) && (in >= len(b.order) || t <= b.came[b.order[in]]) {
			end++
			step = -1
		} else {
			t = b.came[b.order[in]]
			in++
		}
		if k := len(b.times) - 1; k >= 0 {
			virtual += (t - b.times[k]) * b.rates[k]
		}
		there += step
		rate := 1.0
		if there > most {
			rate = most / there
		}
		b.times = append(b.times, t)
		b.rates = append(b.rates, rate)
		b.sums = append(b.sums, virtual)
	}
}

func (b *bench) virtualAt(t float64) float64 {
	k, found := slices.BinarySearch(b.times, t)
	if found {
		return b.sums[k]
	}
	if k == 0 {
		return b.sums[0] + t - b.times[0]
	}
	return b.sums[k-1] + (t-b.times[k-1])*b.rates[k-1]
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

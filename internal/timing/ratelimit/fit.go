package ratelimit

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// Request is one that was recorded.
type Request struct {
	At      time.Duration // when it came
	Refused bool
	Told    Told
}

// Told is what an answer's headers say of a fixed window. The zero value says nothing.
type Told struct {
	Requests int           // accepted in a window
	Left     time.Duration // until the window ends, in whole seconds
	Window   time.Duration // its length, where that is said; else 0
}

// Quality says how far a Result can be relied on.
type Quality string

const (
	Good       Quality = "good"
	Warn       Quality = "warn" // Why says of what to beware
	AsRecorded Quality = "as recorded"
)

// Result is what a recording tells of a limit.
type Result struct {
	Limit    Limit // the zero value with AsRecorded
	Quality  Quality
	Why      string // what the recording does not tell, and what to record; "" with Good
	Accepted int
	Refused  int
	// Off is the part of the accepted requests, of those in times with refusals, that the
	// limit accepts in another slice of time than the recording: 0.05 is 5 %.
	Off float64
	// Identified is how much worse a constant share of refusals tells the recording.
	Identified float64

	misplaced float64 // accepted requests
}

// What is asked of a fit. A bucket's own phase, which a recording does not tell, misplaces
// about a third of a request in each slice: 2 % of sliceOf.
const (
	goodOff, warnOff = 0.05, 0.10
	leastIdentified  = 2
	least            = 20 // refusals, and requests accepted between them
	sliceOf          = 16 // accepted requests
	leastSlices      = 10
)

// Fit tells the limit that requests were under, which is taken to have had all its tokens
// when the first one came. A burst is a whole number. Their order does not matter.
func Fit(requests []Request) Result {
	rs := slices.Clone(requests)
	slices.SortStableFunc(rs, func(a, b Request) int { return cmp.Compare(a.At, b.At) })
	r := Result{Quality: AsRecorded}
	for i := range rs {
		if rs[i].Refused {
			r.Refused++
		} else {
			r.Accepted++
		}
	}
	if r.Refused < least || r.Accepted < least {
		r.Why = fmt.Sprintf("%d accepted and %d refused: want at least %d of each to tell a limit from; record longer, and above the limit", r.Accepted, r.Refused, least)
		return r
	}
	best, other := bucketOf(rs), windowOf(rs)
	// Slices of one length, or they would not compare; that of the better one's rate.
	byHeaders := false
	if other.Window > 0 {
		slice := min(slicesOf(other), other.Window/4)
		if best.Rate == 0 || misplaced(other, rs, slice).misplaced <= misplaced(best, rs, slice).misplaced {
			best, byHeaders = other, true
		}
	}
	if best == (Limit{}) {
		r.Why = fmt.Sprintf("fewer than %d requests were accepted between refusals; record longer above the limit", least)
		return r
	}
	r.judge(best, rs, byHeaders)
	return r
}

// judge says whether a limit is to be relied on.
func (r *Result) judge(l Limit, rs []Request, byHeaders bool) {
	slice := slicesOf(l)
	if span := rs[len(rs)-1].At - rs[0].At; !byHeaders && span < leastSlices*slice {
		r.Why = fmt.Sprintf("%v are too short to tell a limit of about %.4g a second from: want %v; record longer", span.Round(time.Millisecond), l.Rate, leastSlices*slice)
		return
	}
	off := misplaced(l, rs, slice)
	r.Off, r.misplaced = off.share(), off.misplaced
	r.Identified = shareMisplaced(rs, slice) / max(off.misplaced, 1)
	if r.Off > warnOff {
		r.Why = fmt.Sprintf("its refusals do not follow a rate: the best limit, %v, is off by %.0f %%; record one client's load, or without other reasons to refuse", l, 100*r.Off)
		return
	}
	if r.Identified < leastIdentified {
		r.Why = "the recording does not tell a limit from a server that refuses a part of whatever comes; record at two or three loads, one below the limit and two above it"
		return
	}
	r.Limit, r.Quality = l, Good
	if byHeaders {
		if span := rs[len(rs)-1].At - rs[0].At; span < 2*l.Window && !slices.ContainsFunc(rs, func(q Request) bool { return q.Told.Window > 0 }) {
			r.Quality, r.Why = Warn, fmt.Sprintf("one window was recorded, which may be longer than %v; record for more than two of them", l.Window)
		}
	} else { // What the first half tells, the second is to bear out.
		half, half2 := halves(rs)
		first := bucketOf(half)
		if first == (Limit{}) {
			*r = Result{Quality: AsRecorded, Accepted: r.Accepted, Refused: r.Refused, Off: r.Off, Identified: r.Identified, misplaced: r.misplaced,
				Why: fmt.Sprintf("half of the recording has fewer than %d requests that were accepted between refusals; record longer above the limit", least)}
			return
		}
		held := misplacedFrom(first, rs, slice, half2).share()
		if held > warnOff {
			r.Limit, r.Quality = Limit{}, AsRecorded
			r.Why = fmt.Sprintf("the limit does not stay: that of the recording's first half, %v, is off by %.0f %% in its second; record while it does", first, 100*held)
			return
		}
		r.Off = max(r.Off, held)
	}
	if r.Quality == Good && r.Off > goodOff {
		r.Quality, r.Why = Warn, fmt.Sprintf("off by %.0f %%; record longer above the limit", 100*r.Off)
	}
}

// halves parts a recording at the refusal that has as many before it as after it.
func halves(rs []Request) (first []Request, second time.Duration) {
	var refused []int
	for i := range rs {
		if rs[i].Refused {
			refused = append(refused, i)
		}
	}
	at := refused[len(refused)/2]
	return rs[:at+1], rs[at].At
}

// slicesOf is how long a slice of time is in which a limit is compared with a recording.
func slicesOf(l Limit) time.Duration {
	return max(time.Millisecond, time.Duration(min(sliceOf/l.Capacity(), 1e9)*1e9))
}

// bucketOf finds the bucket that puts the fewest requests into the wrong slice; the zero
// value where there are too few.
func bucketOf(rs []Request) Limit {
	rates := betweenRefusals(rs)
	if len(rates) == 0 {
		return Limit{}
	}
	var best Limit
	fewest := math.Inf(1)
	try := func(rate, burst float64, slice time.Duration) {
		l := Limit{Rate: rate, Burst: max(1, burst)}
		if _, why := l.Check(); why != "" {
			return
		}
		if m := misplaced(l, rs, slice).misplaced; m < fewest {
			best, fewest = l, m
		}
	}
	slice := slicesOf(Limit{Rate: rates[0]})
	// What was lost while the bucket was full makes them too low.
	r, most := 0.8*slices.Min(rates), 1.6*slices.Max(rates)
	for step := max(1.02, math.Pow(most/r, 0.01)); r < most; r *= step {
		try(r, burstAt(r, rs), slice)
	}
	if best == (Limit{}) {
		return best
	}
	for _, step := range []float64{0.01, 0.0025} {
		from := best
		for k := -4; k <= 4; k++ {
			r := from.Rate * (1 + step*float64(k))
			b := burstAt(r, rs)
			for d := -1.0; d <= 2; d++ {
				try(r, b+d, slice)
			}
			try(r, from.Burst, slice)
		}
	}
	best.Rate = rounded(best.Rate)
	return best
}

// rounded has four significant digits: more are not told.
func rounded(x float64) float64 {
	y, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 4, 64), 64) // what was just printed
	return y
}

// betweenRefusals are the rates at which requests were accepted between one refusal and the
// next, taken over the shortest of the times between them, over more, and over all. Between
// refusals that are far apart the bucket may have been full, and lost tokens.
func betweenRefusals(rs []Request) []float64 {
	type between struct {
		long     time.Duration
		accepted int
	}
	var list []between
	last, accepted := -1, 0
	for i := range rs {
		if !rs[i].Refused {
			accepted++
			continue
		}
		if last >= 0 {
			list = append(list, between{rs[i].At - rs[last].At, accepted})
		}
		last, accepted = i, 0
	}
	slices.SortFunc(list, func(a, b between) int { return cmp.Compare(a.long, b.long) })
	var rates []float64
	var long time.Duration
	accepted, next := 0, len(list)/2
	for i, b := range list {
		long += b.long
		accepted += b.accepted
		if i < next && i < len(list)-1 || accepted < least || long <= 0 {
			continue
		}
		rates = append(rates, float64(accepted)/long.Seconds())
		next = i + 1 + (len(list)-i)/2
	}
	return rates
}

// burstAt is the most that was accepted in any window beyond what a rate gives, up to whole
// tokens.
func burstAt(rate float64, rs []Request) float64 {
	burst, low, n := 0.0, math.Inf(1), 0.0
	for i := range rs {
		if rs[i].Refused {
			continue
		}
		came := n - rate*(rs[i].At-rs[0].At).Seconds()
		low = min(low, came)
		n++
		burst = max(burst, came-low+1)
	}
	return math.Ceil(burst - 0.25) // moments were not taken where the server takes them
}

// windowOf is the fixed window that headers tell of; the zero value where they do not.
func windowOf(rs []Request) Limit {
	said := map[int]int{}
	var longest, told time.Duration
	for i := range rs {
		if t := &rs[i].Told; t.Requests > 0 {
			said[t.Requests]++
			longest, told = max(longest, t.Left), max(told, t.Window)
		}
	}
	var l Limit
	for n, times := range said {
		if times > said[l.Requests] || times == said[l.Requests] && n < l.Requests {
			l.Requests = n
		}
	}
	lengths := []time.Duration{told}
	if told == 0 { // whole seconds, which servers round as they like
		lengths = []time.Duration{longest, longest - time.Second, longest + time.Second}
	}
	var best Limit
	fewest := math.Inf(1)
	for _, l.Window = range lengths {
		if _, why := l.Check(); why != "" || l.Window == 0 {
			continue
		}
		if m := misplaced(l, rs, min(slicesOf(l), l.Window/4)).misplaced; m < fewest {
			best, fewest = l, m
		}
	}
	return best
}

// offBy is how far a limit is from a recording.
type offBy struct {
	misplaced float64 // accepted requests that stand in the wrong slice
	of        float64 // all in slices in which one of them has refusals
}

func (o offBy) share() float64 {
	if o.of == 0 {
		return 0
	}
	return o.misplaced / o.of
}

func misplaced(l Limit, rs []Request, slice time.Duration) offBy {
	return misplacedFrom(l, rs, slice, rs[0].At)
}

// misplacedFrom simulates l on the recorded arrivals and compares the slices from a moment
// on. Of a window it takes the phase that fits best: windows may follow the clock.
func misplacedFrom(l Limit, rs []Request, slice, from time.Duration) offBy {
	live := NewLive(l)
	best := compare(rs, slice, from, live.Accept)
	if l.Window == 0 {
		return best
	}
	for _, phase := range phasesOf(rs, l.Window) {
		window, taken := time.Duration(math.MinInt64), 0
		o := compare(rs, slice, from, func(at time.Duration) bool {
			if w := floorDiv(at-phase, l.Window); w != window {
				window, taken = w, 0
			}
			taken++
			return taken <= l.Requests
		})
		if o.misplaced < best.misplaced {
			best = o
		}
	}
	return best
}

// phasesOf are where windows may begin: where a request was accepted after a refusal.
func phasesOf(rs []Request, window time.Duration) []time.Duration {
	const most = 24
	var all []time.Duration
	for i := 1; i < len(rs); i++ {
		if rs[i-1].Refused && !rs[i].Refused {
			all = append(all, rs[i].At-floorDiv(rs[i].At, window)*window)
		}
	}
	slices.Sort(all)
	if len(all) <= most {
		return all
	}
	out := make([]time.Duration, most)
	for i := range out {
		out[i] = all[i*len(all)/most]
	}
	return out
}

func floorDiv(a, b time.Duration) time.Duration {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// compare counts what accept accepts, slice by slice, beside the recording.
func compare(rs []Request, slice, from time.Duration, accept func(at time.Duration) bool) offBy {
	var o offBy
	var was, is, refused int
	add := func() {
		if refused > 0 {
			o.misplaced += math.Abs(float64(was - is))
			o.of += float64(max(was, is))
		}
		was, is, refused = 0, 0, 0
	}
	at := time.Duration(math.MinInt64)
	for i := range rs {
		q := &rs[i]
		ok := accept(q.At)
		if q.At < from {
			continue
		}
		if n := (q.At - from) / slice; n != at {
			add()
			at = n
		}
		if ok {
			is++
		}
		if !q.Refused {
			was++
		}
		if !ok || q.Refused {
			refused++
		}
	}
	add()
	return o
}

// shareMisplaced is misplaced for a server that refuses a constant share of what comes.
func shareMisplaced(rs []Request, slice time.Duration) float64 {
	accepted := 0
	for i := range rs {
		if !rs[i].Refused {
			accepted++
		}
	}
	share := float64(accepted) / float64(len(rs))
	sum, n, was := 0.0, 0, 0
	at := time.Duration(math.MinInt64)
	add := func() {
		sum += math.Abs(float64(was) - share*float64(n))
		n, was = 0, 0
	}
	for i := range rs {
		if k := (rs[i].At - rs[0].At) / slice; k != at {
			add()
			at = k
		}
		n++
		if !rs[i].Refused {
			was++
		}
	}
	add()
	return sum
}

// Together reports whether some limits, fitted to the requests of one each, are told as well
// by all, which was fitted to all of their requests.
func Together(all Result, each []Result) bool {
	if all.Quality == AsRecorded {
		return false
	}
	sum := 0.0
	for _, r := range each {
		if r.Quality == AsRecorded {
			return true
		}
		sum += r.misplaced
	}
	return all.misplaced <= sum
}

package ratelimit

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// load is a stretch of a recording: so many requests a second for so long.
type load struct {
	rate float64
	long time.Duration
}

// arrivals are Poisson's, or even where r is nil.
func arrivals(r *rand.Rand, loads ...load) []time.Duration {
	var out []time.Duration
	at, end := time.Duration(0), time.Duration(0)
	for _, l := range loads {
		end += l.long
		for {
			gap := 1.0
			if r != nil {
				gap = r.ExpFloat64()
			}
			if at += time.Duration(gap / l.rate * 1e9); at >= end {
				at = end
				break
			}
			out = append(out, at)
		}
	}
	return out
}

// recorded are requests as accept answers them, and as who stands before it sees them.
func recorded(r *rand.Rand, at []time.Duration, accept func(at time.Duration) bool) []Request {
	out := make([]Request, len(at))
	for i, t := range at {
		out[i] = Request{At: t, Refused: !accept(t)}
		if r != nil {
			out[i].At -= time.Duration(r.Int64N(300e3))
		}
	}
	return out
}

const s = time.Second

func TestFitBucket(t *testing.T) {
	loads := []load{{0.6, 20 * s}, {1.2, 20 * s}, {2, 20 * s}}
	for _, want := range []Limit{{Rate: 50, Burst: 1}, {Rate: 50, Burst: 20}, {Rate: 8, Burst: 5}, {Rate: 100, Burst: 300}} {
		for seed := range uint64(3) {
			r := rand.New(rand.NewPCG(seed, 9))
			of := make([]load, len(loads))
			for i, l := range loads {
				of[i] = load{l.rate * want.Rate, l.long}
			}
			got := Fit(recorded(r, arrivals(r, of...), NewLive(want).Accept))
			t.Logf("%v: %v, %s, off by %.1f %%, identified %.1f %s", want, got.Limit, got.Quality, 100*got.Off, got.Identified, got.Why)
			if got.Quality == AsRecorded {
				t.Errorf("Fit of %v (seed %d) refused: %s", want, seed, got.Why)
				continue
			}
			if d := math.Abs(got.Limit.Rate/want.Rate - 1); d > 0.05 {
				t.Errorf("Fit of %v (seed %d) = %v, want the rate within 5 %%", want, seed, got.Limit)
			}
			if d := math.Abs(got.Limit.Burst - want.Burst); d > 1+0.1*want.Burst {
				t.Errorf("Fit of %v (seed %d) = %v, want the burst within a tenth", want, seed, got.Limit)
			}
		}
	}
}

func TestFitWindow(t *testing.T) {
	for _, want := range []Limit{{Requests: 100, Window: s}, {Requests: 100, Window: 10 * s}, {Requests: 30, Window: 2 * s}} {
		for _, clock := range []bool{false, true} {
			r := rand.New(rand.NewPCG(3, 9))
			c := want.Capacity()
			live := NewLive(want)
			accept, ends := live.Accept, func(time.Duration) time.Duration { return live.ends }
			if clock {
				window, taken := time.Duration(-1), 0
				accept = func(at time.Duration) bool {
					if w := (at + s/3) / want.Window; w != window {
						window, taken = w, 0
					}
					taken++
					return taken <= want.Requests
				}
				ends = func(time.Duration) time.Duration { return (window+1)*want.Window - s/3 }
			}
			var requests []Request
			for _, at := range arrivals(r, load{0.6 * c, 30 * s}, load{1.5 * c, 30 * s}, load{2.5 * c, 30 * s}) {
				ok := accept(at)
				left := time.Duration(math.Ceil((ends(at) - at).Seconds())) * s
				requests = append(requests, Request{At: at, Refused: !ok, Told: Told{Requests: want.Requests, Left: left}})
			}
			got := Fit(requests)
			t.Logf("%v, by the clock %v: %v, %s, off by %.1f %%, identified %.1f %s", want, clock, got.Limit, got.Quality, 100*got.Off, got.Identified, got.Why)
			if got.Limit != want || got.Quality != Good {
				t.Errorf("Fit of %v, by the clock %v, = %v (%s %s)", want, clock, got.Limit, got.Quality, got.Why)
			}
		}
	}
}

// A bucket whose headers look like a window's is a bucket.
func TestFitBucketWithHeaders(t *testing.T) {
	want := Limit{Rate: 10, Burst: 50}
	r := rand.New(rand.NewPCG(3, 9))
	requests := recorded(r, arrivals(r, load{6, 30 * s}, load{15, 30 * s}, load{25, 30 * s}), NewLive(want).Accept)
	for i := range requests {
		requests[i].Told = Told{Requests: 50, Left: time.Duration(i%5+1) * s}
	}
	if got := Fit(requests); got.Limit.Window != 0 || math.Abs(got.Limit.Rate-10) > 0.5 {
		t.Errorf("Fit of %v = %v (%s %s)", want, got.Limit, got.Quality, got.Why)
	}
}

// What looks like a limit and is none is refused, with what to record.
func TestFitRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 9))
	three := []load{{30, 20 * s}, {60, 20 * s}, {100, 20 * s}}
	outage := func(at time.Duration) bool { return at%(15*s) < 11*s }
	slower := NewLive(Limit{Rate: 50, Burst: 10})
	for name, c := range map[string]struct {
		requests []Request
		why      string
	}{
		"nothing": {nil, "record longer"},
		"few":     {recorded(r, arrivals(r, load{20, 5 * s}), NewLive(Limit{Rate: 18, Burst: 1}).Accept)[:30], "at least 20"},
		"a share": {recorded(r, arrivals(r, three...), func(time.Duration) bool { return r.Float64() < 0.7 }), "record"},
		"an even load": {recorded(nil, arrivals(nil, load{75, 30 * s}), func() func(time.Duration) bool {
			n := 0
			return func(time.Duration) bool { n++; return n%3 != 0 }
		}()), "two or three loads"},
		"an outage": {recorded(r, arrivals(r, three...), outage), "record"},
		"a limit that was lowered": {recorded(r, arrivals(r, load{30, 20 * s}, load{90, 20 * s}, load{90, 40 * s}), func(at time.Duration) bool {
			if at > 40*s {
				at = 40*s + (at-40*s)/3
			}
			return slower.Accept(at)
		}), "record"},
	} {
		got := Fit(c.requests)
		t.Logf("%s: %v, off by %.1f %%, identified %.1f: %s", name, got.Limit, 100*got.Off, got.Identified, got.Why)
		if got.Quality != AsRecorded || got.Limit != (Limit{}) || !strings.Contains(got.Why, c.why) {
			t.Errorf("Fit of %s = %v (%s: %s), want it refused with %q", name, got.Limit, got.Quality, got.Why, c.why)
		}
	}
}

func TestTogether(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 9))
	split := func(rs []Request) (a, b []Request) {
		for _, q := range rs {
			if r.IntN(3) == 0 {
				a = append(a, q)
			} else {
				b = append(b, q)
			}
		}
		return a, b
	}
	three := []load{{30, 20 * s}, {60, 20 * s}, {100, 20 * s}}
	one := recorded(r, arrivals(r, three...), NewLive(Limit{Rate: 50, Burst: 10}).Accept)
	a, b := split(one)
	if !Together(Fit(one), []Result{Fit(a), Fit(b)}) {
		t.Error("one limit of two operations is taken for two")
	}
	a = recorded(r, arrivals(r, three...), NewLive(Limit{Rate: 50, Burst: 10}).Accept)
	b = recorded(r, arrivals(r, three...), NewLive(Limit{Rate: 20, Burst: 30}).Accept)
	if Together(Fit(append(append([]Request{}, a...), b...)), []Result{Fit(a), Fit(b)}) {
		t.Error("two limits are taken for one")
	}
}

package station

import (
	"math"
	"slices"
	"testing"
	"time"
)

// What is served by clients that wait is simulated with clients that wait.
func TestFitClosed(t *testing.T) {
	t.Parallel()
	d := &dice{seed: 3}
	truth := Station{Discipline: FIFO, Servers: 8}
	var all []Visit
	for k, n := range []int{4, 9, 16} {
		v := users(n, 1200/n)
		x := make([]time.Duration, len(v))
		for i := range v {
			v[i].At += time.Duration(i/n) * time.Second // thinks a while, for the think times' sake
			v[i].First, v[i].End = v[i].At, v[i].At+time.Second-d.exponential(2*time.Millisecond)
			x[i] = d.lognormal(20*time.Millisecond, 0.5)
		}
		for i := range v {
			v[i].First = v[i].End // no tail
		}
		from := time.Duration(k) * time.Minute
		v = truth.SimulateClosed(v, x)
		for i := range v {
			v[i].At, v[i].First, v[i].End = v[i].At+from, v[i].First+from, v[i].End+from
		}
		all = append(all, v...)
	}
	r := Fit(all, 1)
	t.Logf("%+v", r)
	if !r.Closed || r.Quality == ByLoad || math.Abs(r.Capacity/400-1) > 0.1 {
		t.Errorf("closed %v, %s, capacity %.0f, want a closed recording's of 400 a second: %s", r.Closed, r.Quality, r.Capacity, r.Why)
	}
	// All at once, always: nothing to tell a capacity from.
	v := users(32, 200)
	x := make([]time.Duration, len(v))
	for i := range x {
		x[i] = d.lognormal(20*time.Millisecond, 0.5)
	}
	if r := Fit(truth.SimulateClosed(v, x), 1); !r.Closed || r.Quality != ByLoad {
		t.Errorf("one level of users: closed %v, %s, want none in force", r.Closed, r.Quality)
	}
}

// Demands that go with an answer's size, by operation, go with it in a replay.
func TestDrawBySize(t *testing.T) {
	d := &dice{seed: 4}
	var v []Visit
	for i := range 4000 {
		size := int64(d.exponential(100_000))
		x := time.Duration((2e6 + 100*float64(size)) * math.Exp(0.2*d.normal()))
		op := i % 2
		if op == 1 {
			x = d.lognormal(5*time.Millisecond, 0.3)
		}
		at := time.Duration(i) * 50 * time.Millisecond
		v = append(v, Visit{At: at, First: at + x, End: at + x, Size: size, Operation: op})
	}
	s := Station{Discipline: FIFO, Servers: 1000}
	drawer := NewDrawer(Result{Station: s, Quality: Good}, v, 1)
	mean := func(op int, size int64) time.Duration {
		var sum time.Duration
		for range 2000 {
			sum += drawer.Draw(op, 1, size)
		}
		return sum / 2000
	}
	for _, c := range []struct {
		op   int
		size int64
		want time.Duration
	}{{0, 0, 2040 * time.Microsecond}, {0, 300_000, 32640 * time.Microsecond}, {1, 0, 5 * time.Millisecond}, {1, 300_000, 5 * time.Millisecond}} {
		if got := mean(c.op, c.size); math.Abs(float64(got)/float64(c.want)-1) > 0.12 {
			t.Errorf("operation %d, %d bytes: %v on average, want about %v", c.op, c.size, got, c.want)
		}
	}
}

// Demands that come in runs are drawn in runs.
func TestDrawInTurn(t *testing.T) {
	lag := func(rho float64) float64 {
		d := &dice{seed: 5}
		var v []Visit
		z := 0.0
		for i := range 5000 {
			z = rho*z + math.Sqrt(1-rho*rho)*d.normal()
			at := time.Duration(i) * time.Second
			v = append(v, Visit{At: at, First: at + time.Duration(1e7*math.Exp(z/2))})
		}
		drawer := NewDrawer(Result{Station: Station{Discipline: FIFO, Servers: 3}, Quality: Good}, v, 1)
		var x []float64
		for range 5000 {
			x = append(x, float64(drawer.Draw(0, 1, 0)))
		}
		return rankCorrelation(x[1:], x[:len(x)-1])
	}
	if got := lag(0.6); got < 0.45 {
		t.Errorf("rank correlation of draws %.2f, want about that of the recording, 0.58", got)
	}
	if got := lag(0); math.Abs(got) > 0.06 {
		t.Errorf("rank correlation of draws %.2f, want none, as in the recording", got)
	}
}

// The fallback draws what was seen with as many in flight, or nearly.
func TestDrawByLoad(t *testing.T) {
	var v []Visit
	at := time.Duration(0)
	for range 100 {
		for k := 1; k <= 9; k += 2 { // k at once, each takes k ms
			for i := range k {
				v = append(v, Visit{At: at + time.Duration(i), First: at + time.Duration(i+1)*time.Millisecond, End: at + 10*time.Millisecond})
			}
			at += time.Second
		}
	}
	d := NewDrawer(Result{Quality: ByLoad}, v, 1)
	for asked, want := range map[int]time.Duration{-5: 1, 1: 1, 5: 5, 7: 7, 1000: 9} {
		for range 50 {
			got := d.Draw(0, asked, 0)
			if got < want*time.Millisecond-20 || got > want*time.Millisecond {
				t.Fatalf("with %d in flight %v, want %v", asked, got, want*time.Millisecond)
			}
		}
	}
}

// What an answer takes beyond its first byte keeps its server, and is no demand.
func TestTailsKeepServers(t *testing.T) {
	for _, s := range []Station{{Discipline: FIFO, Servers: 2}, {Discipline: PS, Servers: 2}} {
		d := &dice{seed: 6}
		v := arrivals(d, nil, 0, 20*time.Second, 60)
		x := make([]time.Duration, len(v))
		for i := range v {
			v[i].End += d.exponential(10 * time.Millisecond)
			x[i] = d.exponential(10*time.Millisecond) + 1
		}
		out := s.Simulate(v, x)
		got, violations := s.Demands(out)
		for i := range got {
			if (got[i]-x[i]).Abs() > 5 || out[i].End-out[i].First != v[i].End-v[i].First {
				t.Fatalf("%s: visit %d demands %v, want %v; its tail is %v", s.Discipline, i, got[i], x[i], out[i].End-out[i].First)
			}
		}
		if violations != 0 {
			t.Errorf("%s: %d violations, want none", s.Discipline, violations)
		}
	}
}

// A recording of anything gives a result, and a reason where there is no station.
func TestFitHostile(t *testing.T) {
	t.Parallel()
	many := func(n int, visit func(i int) Visit) []Visit {
		v := make([]Visit, n)
		for i := range v {
			v[i] = visit(i)
		}
		return v
	}
	for name, v := range map[string][]Visit{
		"none":        nil,
		"one":         {{At: 5, First: 7, End: 9}},
		"all at once": many(250, func(int) Visit { return Visit{} }),
		"same":        many(250, func(int) Visit { return Visit{At: 1, First: 1e6, End: 1e6} }),
		"no latency":  many(250, func(i int) Visit { t := time.Duration(i) * 1e6; return Visit{At: t, First: t, End: t} }),
		"ends first":  many(250, func(i int) Visit { t := time.Duration(i) * 1e6; return Visit{At: t, First: t - 5, End: t - 9} }),
		"extremes": many(250, func(i int) Visit {
			return Visit{math.MinInt64 + time.Duration(i), math.MaxInt64, math.MinInt64, uint64(i % 2), -i, math.MaxInt64}
		}),
		"backwards": many(250, func(i int) Visit { t := -time.Duration(i) * 1e6; return Visit{At: t, First: t + 1e7, End: t + 1e7} }),
		"one source": many(250, func(i int) Visit {
			return Visit{At: time.Duration(i) * 10, First: math.MaxInt64, End: math.MaxInt64, Source: 1}
		}),
		"own operations": many(250, func(i int) Visit {
			t := time.Duration(i) * 1e6
			return Visit{At: t, First: t + 1e7, End: t + 1e7, Operation: i}
		}),
	} {
		r := Fit(v, 1)
		if r.Quality != ByLoad || r.Why == "" || r.Visits != len(v) {
			t.Errorf("%s: %+v, want none in force, and why", name, r)
		}
		total := 0
		for _, g := range FitAll(v, 1) {
			total += g.Result.Visits
		}
		if total != len(v) {
			t.Errorf("%s: groups of %d visits, want %d", name, total, len(v))
		}
		NewDrawer(r, v, 1).Draw(0, 1, 1)
	}
}

// The same recording in another order gives the same result.
func TestFitIsReproducible(t *testing.T) {
	t.Parallel()
	v := truths[0].record(1, 4*time.Second, .3, .55, .75)
	a := Fit(v, 1)
	slices.Reverse(v)
	b := Fit(v, 1)
	if a.Best != b.Best || a.Score != b.Score || a.Capacity != b.Capacity || a.Why != b.Why {
		t.Errorf("%+v and %+v, want the same", a, b)
	}
}

// A million visits take seconds.
func BenchmarkFitMillion(b *testing.B) {
	v := truths[0].record(1, 1600*time.Second, .3, .55, .75)
	b.ReportMetric(float64(len(v)), "visits")
	for b.Loop() {
		r := Fit(v, 1)
		NewDrawer(r, v, 1)
	}
}

// An event loop takes requests in the order in which it finds them, which is not quite that
// of their coming. It is one server all the same.
func TestFitOneServerInAnyOrder(t *testing.T) {
	t.Parallel()
	d := &dice{seed: 11}
	const mean = 6 * time.Millisecond
	var visits []Visit
	for i, rate := range []float64{45, 90, 130} {
		visits = arrivals(d, visits, time.Duration(i)*20*time.Second, 20*time.Second, rate)
	}
	var round []int // what the loop found when it last looked
	now, next := time.Duration(0), 0
	for next < len(visits) || len(round) > 0 {
		if len(round) == 0 {
			for now = max(now, visits[next].At); next < len(visits) && visits[next].At <= now; next++ {
				round = append(round, next)
			}
		}
		k := 0
		if d.unit() < 0.3 {
			k = d.below(len(round))
		}
		now += d.lognormal(mean, 0.6)
		v := &visits[round[k]]
		v.First, v.End = now, now
		round = slices.Delete(round, k, k+1)
	}
	r := Fit(visits, 1)
	if want := 1 / mean.Seconds(); r.Quality == ByLoad || r.Best.Servers != 1 || r.Capacity < 0.9*want || r.Capacity > 1.1*want {
		t.Errorf("fitted %+v, quality %s (%s), capacity %.1f; want one server, about %.1f", r.Best, r.Quality, r.Why, r.Capacity, want)
	}
}

package tunnel_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/internal/umltest"
	"github.com/understudy-proxy/understudy/shaping/emulator"
)

// These tests hold this package's engine against the kernel's netem: the same conditions
// over both, in one guest, at the same time, and what was achieved by the one against the
// other. Bounds are of 4 standard deviations of the difference, or of a level of 1 in
// 1000, where not said otherwise. The engines draw other numbers: what is compared are
// laws.

// share is how many of n had something befall them.
type share struct{ x, n int }

func (s share) part() float64 { return float64(s.x) / float64(s.n) }

// differ reports whether two shares are farther apart than 4σ of their difference, where
// a run of decisions counts as one: runs is its mean length, 1 for decisions on their own.
func differ(a, b share, runs float64) bool {
	p := float64(a.x+b.x) / float64(a.n+b.n)
	sigma := math.Sqrt(p * (1 - p) * runs * (1/float64(a.n) + 1/float64(b.n)))
	return math.Abs(a.part()-b.part()) > 4*sigma
}

// compareShares holds each engine's share against netem's and against what was asked.
func compareShares(t *testing.T, spec, what string, ways []*way, shares []share, asked, runs float64) {
	t.Helper()
	for k, w := range ways {
		s := shares[k]
		t.Logf("%s: %s: %s %d of %d (%.2f%%), asked %.2f%%", spec, w.engine, what, s.x, s.n, 100*s.part(), 100*asked)
		if differ(shares[0], s, runs) {
			t.Errorf("%s: %s: %s: %s has %.2f%%, netem %.2f%%: want the same", spec, w.engine, what, w.engine, 100*s.part(), 100*shares[0].part())
		}
		if sigma := math.Sqrt(asked * (1 - asked) * runs / float64(s.n)); math.Abs(s.part()-asked) > 4*sigma {
			t.Errorf("%s: %s: %s %.2f%%, want %.2f%% ± %.2f%%", spec, w.engine, what, 100*s.part(), 100*asked, 400*sigma)
		}
	}
}

func change(t *testing.T, ways []*way, text string) {
	t.Helper()
	for _, w := range ways {
		w.change(spec(t, text))
	}
}

// quick is a load for which nobody's queue is too short.
func quick(count int) load { return load{count: count, size: 64, batch: 10, pause: time.Millisecond} }

// counted is what the counters say came since before.
func counted(ways []*way, before []uint64) (dropped []uint64) {
	for k, w := range ways {
		c := w.counters().Dropped
		if before != nil {
			c -= before[k]
		}
		dropped = append(dropped, c)
	}
	return dropped
}

// No packet comes before its time, and the most punctual when it is due: what a busy
// guest adds is never less than nothing.
func TestGuestEnginesDelay(t *testing.T) {
	umltest.Guest(t)
	ways := newWays(t, "netem", "tun", "between")
	bare := send(t, ways, load{count: 100, size: 64, pause: 12 * time.Millisecond})
	const asked, near = 50 * time.Millisecond, time.Millisecond
	change(t, ways, "delay=50ms")
	off := make([]time.Duration, len(ways))
	// A host that is busy all the while shows nothing: one round of three is enough.
	for range 3 {
		good := true
		for k, got := range send(t, ways, load{count: 200, size: 64, pause: 12 * time.Millisecond}) {
			w, all := ways[k], delays(got)
			off[k] = quantile(all, .05) - quantile(delays(bare[k]), .05) - asked
			t.Logf("%s: 50ms off by %v at p5; p50 is %v, bare %v", w.engine, off[k], quantile(all, .5), quantile(delays(bare[k]), .5))
			good = good && off[k].Abs() <= near && (off[k]-off[0]).Abs() <= near
			if len(all) != 200 {
				t.Errorf("%s: %d of 200 packets came", w.engine, len(all))
			} else if all[0] < asked-earliest {
				t.Errorf("%s: a packet came after %v, want %v at least", w.engine, all[0], asked)
			}
		}
		if good {
			return
		}
	}
	t.Errorf("the delays of netem, tun and between are off by %v, want 50ms within %v, and netem's", off, near)
}

// earliest is by how much a packet may come too early: this engine delivers together what
// is due within 50 µs, and deducts what waking up usually takes from when a packet came,
// at most 250.
const earliest = 300 * time.Microsecond

func delays(got []arrival) (all []time.Duration) {
	for _, a := range got {
		all = append(all, a.took)
	}
	slices.Sort(all)
	return all
}

func quantile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

// Jitter has the same distribution at every quantile: netem's as it was achieved, this
// engine's as it decides about as many packets, far enough apart that delays that vary
// over time do not know of each other. The jitter is one beside which it does not count
// by how much a busy guest is late; TestGuestEnginesDelay and the tests of real links
// look at that.
func TestGuestEnginesJitter(t *testing.T) {
	umltest.Guest(t)
	shapes := []string{"uniform", "normal", "pareto", "paretonormal", "experimental"}
	const n = 1500
	ways := make([]*way, len(shapes))
	decided := make([][]time.Duration, len(shapes))
	for i, shape := range shapes {
		c := spec(t, "delay=500ms,jitter=100ms,distribution="+shape)
		ways[i] = newWay(t, "netem")
		ways[i].change(c)
		c, _ = c.Resolve()
		e := emulator.New[int](c, 42)
		for k := range n {
			at := time.Duration(k) * 2 * time.Second
			e.Put(at, 64, false, k)
			due, _ := e.Next()
			e.Take(due)
			decided[i] = append(decided[i], due-at)
		}
		slices.Sort(decided[i])
	}
	// Kolmogorov and Smirnov's bound of 1 in 1000.
	bound := 1.95 * math.Sqrt(2.0/n)
	achieved := make([][]time.Duration, len(shapes))
	for round := 1; round <= 3; round++ { // of which one may be on a host that is not too busy
		good := true
		for i, got := range send(t, ways, load{count: n, size: 64, batch: 5, pause: 5 * time.Millisecond, wait: 1500 * time.Millisecond}) {
			achieved[i] = delays(got)
			d := distance(achieved[i], decided[i])
			off := quantile(achieved[i], .5) - quantile(decided[i], .5)
			t.Logf("%s: p10 p25 p50 p75 p90: netem %v, tun %v; distributions %.3f apart, bound %.3f",
				shapes[i], quantiles(achieved[i]), quantiles(decided[i]), d, bound)
			// The median's own 4σ is 10 ms, where the density is least: uniform's.
			good = good && len(got) == n && d <= bound && off.Abs() <= 15*time.Millisecond
		}
		if good {
			break
		}
		if round == 3 {
			t.Error("the distributions are not netem's, in three rounds")
		}
	}
	// That the bound tells distributions apart at all.
	for _, pair := range [][2]int{{0, 2}, {1, 2}, {2, 4}} {
		d := distance(achieved[pair[0]], decided[pair[1]])
		t.Logf("%s by netem, %s by tun: %.3f apart", shapes[pair[0]], shapes[pair[1]], d)
		if d <= bound {
			t.Errorf("%s cannot be told from %s: the comparison proves nothing", shapes[pair[0]], shapes[pair[1]])
		}
	}
}

func quantiles(sorted []time.Duration) (all []time.Duration) {
	for _, p := range []float64{.1, .25, .5, .75, .9} {
		all = append(all, quantile(sorted, p).Round(10*time.Microsecond))
	}
	return all
}

// distance is the greatest one of two distributions that are laid median on median.
func distance(a, b []time.Duration) (most float64) {
	if len(a) == 0 || len(b) == 0 {
		return 1
	}
	shift := quantile(b, 0.5) - quantile(a, 0.5)
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if a[i]+shift < b[j] {
			i++
		} else {
			j++
		}
		most = max(most, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	return most
}

// Losses on their own, and what the counters say of them.
func TestGuestEnginesLoss(t *testing.T) {
	umltest.Guest(t)
	ways := newWays(t, "netem", "tun", "between")
	const n = 2000
	for _, tt := range []struct {
		spec string
		loss float64
	}{{"loss=5%", .05}, {"loss=40%", .4}} {
		before := counted(ways, nil)
		change(t, ways, tt.spec)
		got := send(t, ways, quick(n))
		var shares []share
		for k, dropped := range counted(ways, before) {
			shares = append(shares, share{n - len(got[k]), n})
			if int(dropped) != n-len(got[k]) {
				t.Errorf("%s: %s: %d lost, its counter says %d", tt.spec, ways[k].engine, n-len(got[k]), dropped)
			}
		}
		compareShares(t, tt.spec, "lost", ways, shares, tt.loss, 1)
	}
}

// ECN marks in place of losing.
func TestGuestEnginesECN(t *testing.T) {
	umltest.Guest(t)
	ways := newWays(t, "netem", "tun")
	const n = 2000
	change(t, ways, "loss=20%,ecn=true")
	var shares []share
	for k, got := range send(t, ways, quick(n)) {
		marked := 0
		for _, a := range got {
			if a.marked {
				marked++
			}
		}
		shares = append(shares, share{marked, n})
		if len(got) != n {
			t.Errorf("%s: %d of %d packets came, want all, marked", ways[k].engine, len(got), n)
		}
	}
	compareShares(t, "loss=20%,ecn=true", "marked", ways, shares, .2, 1)
}

// Losses with a memory: how many, in how many runs, and how long these are.
func TestGuestEnginesBursts(t *testing.T) {
	umltest.Guest(t)
	ways := newWays(t, "netem", "tun")
	const n = 6000
	for _, tt := range []struct {
		spec string
		loss float64
		runs float64 // by how much more the number varies than that of losses on their own
	}{
		{"loss=10%,burst=5", .1, 9},         // (1+λ)/(1-λ) of a chain with λ = 1 - 1/5 - 1/45
		{"gemodel=2%/20%/80%/1%", .0818, 7}, // p/(p+r)·80% + r/(p+r)·1%
		{"state=2%/25%/40%/20%/1%", -1, 9},
	} {
		change(t, ways, tt.spec)
		got := send(t, ways, quick(n))
		var shares []share
		var lengths [][]float64
		for _, one := range got {
			shares = append(shares, share{n - len(one), n})
			lengths = append(lengths, runs(one, n))
		}
		if tt.loss > 0 {
			compareShares(t, tt.spec, "lost", ways, shares, tt.loss, tt.runs)
		}
		for k, w := range ways {
			chi, freedom := chiSquare(lengths[0], lengths[k])
			t.Logf("%s: %s: lost %d of %d; runs of 1, 2, 3, 4, 5-6, 7-9, 10-: %v; χ² %.1f of %d", tt.spec, w.engine, shares[k].x, n, lengths[k], chi, freedom)
			if differ(shares[0], shares[k], tt.runs) {
				t.Errorf("%s: %s lost %d of %d, netem %d", tt.spec, w.engine, shares[k].x, n, shares[0].x)
			}
			if chi > bound1000(freedom) {
				t.Errorf("%s: %s: the lengths of runs are not netem's: χ² %.1f, want %.1f at most", tt.spec, w.engine, chi, bound1000(freedom))
			}
		}
	}
}

// runs counts runs of losses by their length: 1, 2, 3, 4, 5 to 6, 7 to 9, more.
func runs(got []arrival, n int) []float64 {
	here := make([]bool, n+1)
	here[n] = true
	for _, a := range got {
		here[a.seq] = true
	}
	all := make([]float64, 7)
	length := 0
	for _, came := range here {
		if !came {
			length++
			continue
		}
		switch {
		case length == 0:
		case length <= 4:
			all[length-1]++
		case length <= 6:
			all[4]++
		case length <= 9:
			all[5]++
		default:
			all[6]++
		}
		length = 0
	}
	return all
}

// chiSquare holds two histograms against each other; bins that are almost empty in both
// are put together with the one before.
func chiSquare(a, b []float64) (chi float64, freedom int) {
	var na, nb float64
	for i := range a {
		na, nb = na+a[i], nb+b[i]
	}
	if na == 0 || nb == 0 {
		return math.Inf(1), 1
	}
	var x, y float64
	for i := range a {
		x, y = x+a[i], y+b[i]
		if x+y < 10 && i < len(a)-1 {
			continue
		}
		if x+y > 0 {
			d := math.Sqrt(nb/na)*x - math.Sqrt(na/nb)*y
			chi += d * d / (x + y)
			freedom++
		}
		x, y = 0, 0
	}
	return chi, max(freedom-1, 1)
}

// bound1000 is what χ² exceeds in 1 of 1000. Source: Wilson and Hilferty's approximation.
func bound1000(freedom int) float64 {
	k := float64(freedom)
	return k * math.Pow(1-2/(9*k)+3.09*math.Sqrt(2/(9*k)), 3)
}

func TestGuestEnginesDuplicate(t *testing.T) {
	umltest.Guest(t)
	ways := newWays(t, "netem", "tun")
	const n = 2000
	for _, tt := range []struct {
		spec        string
		twice, none float64
	}{{"duplicate=10%", .1, 0}, {"duplicate=100%", 1, 0}} {
		change(t, ways, tt.spec)
		var twice, none []share
		for _, got := range send(t, ways, quick(n)) {
			times := make([]int, n)
			for _, a := range got {
				times[a.seq]++
			}
			two, zero := 0, 0
			for _, c := range times {
				if c == 2 {
					two++
				} else if c == 0 {
					zero++
				}
			}
			twice, none = append(twice, share{two, n}), append(none, share{zero, n})
		}
		compareShares(t, tt.spec, "came twice", ways, twice, tt.twice, 1)
		compareShares(t, tt.spec, "came not at all", ways, none, tt.none, 1)
	}
}

// What skips the delay comes at once, and overtakes what came before.
func TestGuestEnginesReorder(t *testing.T) {
	umltest.Guest(t)
	ways := newWays(t, "netem", "tun")
	const n = 2000
	for _, tt := range []struct {
		spec  string
		early float64
		runs  float64
	}{
		{"delay=400ms,reorder=25%", .25, 1},
		// Each fifth may, at the earliest, and does with the half's chance: 1 in 4 + 2.
		{"delay=400ms,reorder=50%,gap=5", 1.0 / 6, 1},
	} {
		change(t, ways, tt.spec)
		var early []share
		for k, got := range send(t, ways, quick(n)) {
			x, least, last := 0, n, -n
			for _, a := range got {
				if a.took < 200*time.Millisecond {
					x++
					least, last = min(least, a.seq-last), a.seq
				}
			}
			early = append(early, share{x, n})
			t.Logf("%s: %s: two that went ahead lie %d apart at least", tt.spec, ways[k].engine, least)
			if gap := int(spec(t, tt.spec).Gap); least < gap {
				t.Errorf("%s: %s: packets went ahead %d apart, want %d at least", tt.spec, ways[k].engine, least, gap)
			}
			if len(got) != n {
				t.Errorf("%s: %s: %d of %d packets came", tt.spec, ways[k].engine, len(got), n)
			}
		}
		compareShares(t, tt.spec, "went ahead", ways, early, tt.early, tt.runs)
	}
}

// What is damaged has one bit that is not as it was sent.
func TestGuestEnginesCorrupt(t *testing.T) {
	umltest.Guest(t)
	ways := newWays(t, "netem", "tun")
	const n, size = 2000, 1000
	change(t, ways, "corrupt=10%")
	var damaged []share
	for k, got := range send(t, ways, load{count: n, size: size, batch: 10, pause: time.Millisecond}) {
		x := n - len(got) // where the bit was one of a header, it never came
		for _, a := range got {
			if a.flipped > 0 {
				x++
			}
			if a.flipped > 1 {
				t.Errorf("%s: packet %d has %d flipped bits, want one", ways[k].engine, a.seq, a.flipped)
			}
		}
		damaged = append(damaged, share{x, n})
	}
	// A bit of an Ethernet header may be one that nobody looks at: 1 in 70.
	compareShares(t, "corrupt=10%", "damaged", ways, damaged, .1, 1.2)
}

// The rate at which packets come, with what they and their cells cost.
func TestGuestEnginesRate(t *testing.T) {
	umltest.Guest(t)
	ways := newWays(t, "netem", "tun")
	for _, tt := range []struct {
		spec        string
		count, size int
		cost        int // bytes of each packet, on the line
		rate        float64
	}{
		{"rate=500kbit,queue=10s", 150, 1400, 1442, 5e5},
		{"rate=250kbit,queue=10s,overhead=26,cell=48,cell_overhead=5", 200, 400, 10 * 53, 25e4}, // 442+26 are 10 cells
	} {
		change(t, ways, tt.spec)
		rates := make([]float64, len(ways))
		for k, got := range send(t, ways, load{count: tt.count, size: tt.size, batch: 20, pause: time.Millisecond, wait: 3 * time.Second}) {
			if len(got) != tt.count {
				t.Fatalf("%s: %s: %d of %d packets came; counters %+v", tt.spec, ways[k].engine, len(got), tt.count, ways[k].counters())
			}
			var at []time.Duration
			for _, a := range got {
				at = append(at, a.at)
			}
			var err error
			rates[k], err = umltest.Rate(tt.cost, at)
			t.Logf("%s: %s: %.1f kbit/s, %v", tt.spec, ways[k].engine, rates[k]/1e3, err)
			if math.Abs(rates[k]/tt.rate-1) > 0.03 || math.Abs(rates[k]/rates[0]-1) > 0.03 {
				t.Errorf("%s: %s: %.1f kbit/s, want %.1f within 3%%, and netem's %.1f", tt.spec, ways[k].engine, rates[k]/1e3, tt.rate/1e3, rates[0]/1e3)
			}
		}
	}
}

// A queue that is full takes no more, and as many as it was told.
func TestGuestEnginesLimit(t *testing.T) {
	umltest.Guest(t)
	ways := newWays(t, "netem", "tun", "between")
	const n, limit = 120, 50
	change(t, ways, "delay=5s,limit=50") // longer than a busy guest takes to send them
	before := counted(ways, nil)
	got := send(t, ways, load{count: n, size: 64, batch: 20, pause: time.Millisecond, wait: 6 * time.Second})
	for k, dropped := range counted(ways, before) {
		t.Logf("%s: %d of %d came, %d were dropped", ways[k].engine, len(got[k]), n, dropped)
		if len(got[k]) != limit || dropped != n-limit {
			t.Errorf("%s: %d of %d came through a limit of %d, and %d were dropped", ways[k].engine, len(got[k]), n, limit, dropped)
		}
		for i, a := range got[k] {
			if a.seq != i {
				t.Errorf("%s: packet %d came in the place of %d: want the first, in order", ways[k].engine, a.seq, i)
				break
			}
		}
	}
}

package timing

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestEstimate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var low, high estimate
	low.quantile, low.most = 0.3, longestLead
	high.quantile, high.most = 0.7, longestLead
	for i := range 2000 {
		sample := r.Int64N(100_000)
		if i%50 == 0 {
			sample = int64(time.Second) // a pause of the machine
		}
		low.learn(sample)
		high.learn(sample)
	}
	if got := low.value.Load(); got < 15_000 || got > 45_000 {
		t.Errorf("0.3-quantile of 0..100 µs = %d ns, want about 30000", got)
	}
	if got := high.value.Load(); got < 55_000 || got > 90_000 {
		t.Errorf("0.7-quantile of 0..100 µs = %d ns, want about 70000", got)
	}
	for range 10_000 {
		low.learn(0)
		high.learn(int64(time.Hour))
	}
	if got := low.value.Load(); got != 0 {
		t.Errorf("quantile of zeros = %d ns, want 0", got)
	}
	if got := high.value.Load(); got != longestLead {
		t.Errorf("quantile of hours = %d ns, want %d", got, longestLead)
	}
}

func TestLatenessBins(t *testing.T) {
	var l lateness
	for i := range l.bins {
		if got := bin(binMiddle(i)); got != i {
			t.Errorf("bin(%d) = %d, want %d", binMiddle(i), got, i)
		}
	}
	for _, late := range []int64{math.MinInt64 + earliest, -earliest, -1, 0, 107_999, 108_000, 1e9, math.MaxInt64 - earliest} {
		l.add(late)
		if i := bin(late); l.bins[i].Load() == 0 {
			t.Errorf("bin(%d) = %d, which counts none", late, i)
		}
	}
	for late := int64(-earliest); late < 100e9; late += late/7 + 12345 {
		if got := binMiddle(bin(late)); math.Abs(float64(got-late)) > float64(max(late+earliest, 31_000))/32 {
			t.Errorf("binMiddle(bin(%d)) = %d, want within 1/32", late, got)
		}
	}
}

func TestLatenessQuantile(t *testing.T) {
	var l lateness
	counts := make([]uint64, len(l.bins))
	if got := binQuantile(counts, 0.5); got != 0 {
		t.Errorf("quantile of none = %s, want 0s", got)
	}
	for µs := range int64(100) {
		l.add(µs * 1000)
	}
	if n := l.addTo(counts); n != 100 {
		t.Errorf("counted %d, want 100", n)
	}
	for p, want := range map[float64]time.Duration{0: 500, 0.5: 49_500, 0.99: 98_500, 1: 99_500} {
		if got := binQuantile(counts, p); got != want {
			t.Errorf("binQuantile(%v) = %s, want %s", p, got, want)
		}
	}
}

func TestCredit(t *testing.T) {
	c := credit{share: spinShare}
	var spun int64
	const passed = int64(10 * time.Second)
	for now := int64(0); now < passed; now += 30_000 {
		if has, took := c.has(now, 20_000), c.take(now, 20_000); has != took {
			t.Fatalf("has(%d) = %v, take = %v, want the same", now, has, took)
		} else if took {
			spun += 20_000
		}
	}
	if most := passed/spinShare + spinBurst; spun > most || spun < passed/spinShare-20_000 {
		t.Errorf("spun %d ns of %d, want %d to %d", spun, passed, passed/spinShare-20_000, most)
	}
	if c.spun.Load() != spun {
		t.Errorf("counted %d ns, want %d", c.spun.Load(), spun)
	}
}

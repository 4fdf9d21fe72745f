package timing

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Every duration is in the bin whose middle is within the promised distance of it.
func TestBinsAreNarrow(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	near := func(d time.Duration) {
		t.Helper()
		if off := (middleOf(binOf(d)) - d).Abs(); off > max(32, d/64) {
			t.Errorf("the bin of %v has its middle at %v", d, middleOf(binOf(d)))
		}
	}
	for d := range time.Duration(10_000) {
		near(d)
	}
	for range 100_000 {
		near(time.Duration(r.Int64N(1 << (10 + r.IntN(32)))))
	}
	near(1<<42 - 1)
	if got, last := binOf(1<<62), len(Bins{}.counts)-1; got != last || binOf(1<<42-1) != last {
		t.Errorf("bins %d and %d, want the last, %d", got, binOf(1<<42-1), last)
	}
	for i := 1; i < len(Bins{}.counts); i++ {
		if binOf(middleOf(i)) != i {
			t.Fatalf("the middle of bin %d, %v, is in bin %d", i, middleOf(i), binOf(middleOf(i)))
		}
	}
}

func TestBinsQuantiles(t *testing.T) {
	var none Bins
	if none.Count() != 0 || none.Max() != 0 || none.Quantile(.5) != 0 {
		t.Errorf("empty bins tell %d, %v, %v", none.Count(), none.Max(), none.Quantile(.5))
	}
	r := rand.New(rand.NewPCG(5, 6))
	var parts [3]Bins
	all := make([]time.Duration, 10_000)
	for i := range all {
		all[i] = time.Duration(r.ExpFloat64() * float64(80*time.Microsecond))
		parts[i%3].Add(all[i])
	}
	parts[0].Add(-time.Second)
	all = append(all, 0)
	for i := 1; i < 3; i++ {
		parts[0].Join(&parts[i])
	}
	slices.Sort(all)
	for _, p := range []float64{0, .01, .5, .99, 1} {
		want := all[max(0, int(float64(len(all))*p+.999999)-1)]
		if got := parts[0].Quantile(p); (got - want).Abs() > max(32, want/64) {
			t.Errorf("Quantile(%v) = %v, want about %v", p, got, want)
		}
	}
	if got := parts[0].Max(); got != all[len(all)-1] || parts[0].Count() != uint64(len(all)) {
		t.Errorf("%d up to %v, want %d up to %v", parts[0].Count(), got, len(all), all[len(all)-1])
	}
}

func TestBinsJoinEmpty(t *testing.T) {
	var some, none Bins
	some.Add(0) // the least there is counts, too
	some.Join(&none)
	none.Join(&some)
	if some != none || none.Count() != 1 || none.Quantile(1) != 0 {
		t.Errorf("joined with nothing: %d and %d, want 1", some.Count(), none.Count())
	}
}

func BenchmarkBins(b *testing.B) {
	var bins Bins
	d := time.Duration(0)
	for b.Loop() {
		bins.Add(d & 0xfffff)
		d += 7919
	}
}

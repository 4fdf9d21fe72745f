package timing

import (
	"math"
	"testing"
	"time"
)

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance }

func TestQuantileType7(t *testing.T) {
	// numpy.quantile([1, 2, 4, 8, 16], p), and R's quantile with its default type.
	for p, want := range map[float64]float64{0: 1, 0.1: 1.4, 0.25: 2, 0.5: 4, 0.9: 12.8, 1: 16, -1: 1, 2: 16} {
		if got := Quantile([]float64{1, 2, 4, 8, 16}, p); !near(got, want, 1e-12) {
			t.Errorf("Quantile(p=%v) = %v, want %v", p, got, want)
		}
	}
	if got := Quantile([]time.Duration{10, 20}, 0.5); got != 15 {
		t.Errorf("Quantile of 10ns and 20ns = %s, want 15ns", got)
	}
	if got := Quantile([]float64(nil), 0.5); got != 0 {
		t.Errorf("Quantile of none = %v, want 0", got)
	}
}

func TestDistances(t *testing.T) {
	for _, c := range []struct {
		name             string
		a, b             []float64
		ks, wasserstein1 float64
	}{
		{"equal", []float64{1, 2, 3}, []float64{3, 2, 1}, 0, 0},
		{"apart", []float64{1, 2}, []float64{11, 12}, 1, 10},
		// scipy.stats: ks_2samp and wasserstein_distance of the same lists.
		{"overlapping", []float64{0, 1, 3}, []float64{5, 6, 8}, 1, 5},
		{"other sizes", []float64{1, 2, 3, 4}, []float64{2, 4}, 0.25, 0.5},
		{"ties", []float64{1, 1, 1, 5}, []float64{1, 5, 5, 5}, 0.5, 2},
		{"empty", nil, []float64{1}, 0, 0},
	} {
		for range 2 { // both ways: they are symmetric
			if got := KS(c.a, c.b); !near(got, c.ks, 1e-12) {
				t.Errorf("%s: KS = %v, want %v", c.name, got, c.ks)
			}
			if got := Wasserstein1(c.a, c.b); !near(got, c.wasserstein1, 1e-12) {
				t.Errorf("%s: Wasserstein1 = %v, want %v", c.name, got, c.wasserstein1)
			}
			c.a, c.b = c.b, c.a
		}
	}
}

func TestStatisticsKeepTheirInput(t *testing.T) {
	in := []time.Duration{3, 1, 2}
	Summarize(in)
	KS(in, in)
	Median(in)
	if in[0] != 3 || in[1] != 1 || in[2] != 2 {
		t.Errorf("input after the statistics = %v, want it as it was", in)
	}
}

func TestSummarize(t *testing.T) {
	samples := make([]time.Duration, 0, 101)
	for i := 100; i >= 0; i-- {
		samples = append(samples, time.Duration(i)*ms)
	}
	want := Summary{N: 101, P50: 50 * ms, P90: 90 * ms, P95: 95 * ms, P99: 99 * ms, Max: 100 * ms, Mean: 50 * ms}
	if got := Summarize(samples); got != want {
		t.Errorf("Summarize(0..100ms) = %+v, want %+v", got, want)
	}
	if got := Summarize(nil); got != (Summary{}) {
		t.Errorf("Summarize(none) = %+v, want the zero value", got)
	}
	far := []time.Duration{math.MaxInt64, math.MaxInt64}
	if got := Summarize(far).Max; got != math.MaxInt64 {
		t.Errorf("Summarize(two of the longest).Max = %s, want the longest", got)
	}
}

// normals returns n draws of the standard normal distribution.
func normals(n int, seed uint64) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = normalQuantile(Unit(Mix(seed, uint64(i))))
	}
	return xs
}

func TestMedianInterval(t *testing.T) {
	xs := normals(31, 5)
	a, err := MedianInterval(xs, 0.95, 1)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := MedianInterval(xs, 0.95, 1); a != b {
		t.Errorf("MedianInterval(seed=1) twice = %v and %v, want them equal", a, b)
	}
	if a.Estimate != Median(xs) || !(a.Low < a.Estimate && a.Estimate < a.High) {
		t.Errorf("MedianInterval = %+v, want the median %v inside", a, Median(xs))
	}
	if wide, _ := MedianInterval(xs, 0.99, 1); wide.Low > a.Low || wide.High < a.High {
		t.Errorf("interval at 0.99 = %+v, want it to hold the one at 0.95, %+v", wide, a)
	}
	// Shifted values shift the interval: the draws are the same.
	shifted := make([]float64, len(xs))
	for i := range xs {
		shifted[i] = xs[i] + 8
	}
	if b, _ := MedianInterval(shifted, 0.95, 1); !near(b.Low, a.Low+8, 1e-9) || !near(b.High, a.High+8, 1e-9) {
		t.Errorf("interval of shifted values = %+v, want %+v shifted by 8", b, a)
	}
	same, err := MedianInterval([]float64{2, 2, 2}, 0.95, 1)
	if err != nil || same != (Interval{2, 2, 2}) {
		t.Errorf("interval of equal values = %+v, %v, want 2 to 2", same, err)
	}
	for _, bad := range [][]float64{nil, {1, 2}, {1, 2, math.NaN()}, {1, 2, math.Inf(1)}} {
		if got, err := MedianInterval(bad, 0.95, 1); err == nil {
			t.Errorf("MedianInterval(%v) = %+v, want an error", bad, got)
		}
	}
	if got, err := MedianInterval(xs, 1, 1); err == nil {
		t.Errorf("MedianInterval(level=1) = %+v, want an error", got)
	}
}

// An interval at 95 % holds the true median in about 95 % of experiments.
func TestMedianIntervalCovers(t *testing.T) {
	const trials = 200
	held := 0
	for i := range uint64(trials) {
		iv, err := MedianInterval(normals(24, Mix(99, i)), 0.95, i)
		if err != nil {
			t.Fatal(err)
		}
		if iv.Low <= 0 && 0 <= iv.High {
			held++
		}
	}
	if share := float64(held) / trials; share < 0.90 || share > 0.99 {
		t.Errorf("coverage of the 0.95 interval = %v, want 0.90 to 0.99", share)
	}
}

func BenchmarkMedianInterval(b *testing.B) {
	xs := normals(40, 1)
	for b.Loop() {
		MedianInterval(xs, 0.95, 1)
	}
}

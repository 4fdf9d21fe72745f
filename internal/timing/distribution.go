package timing

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// Distribution says how long delays are. It holds no randomness: equal u give
// equal delays. It is immutable and safe for use by several goroutines.
type Distribution interface {
	// Quantile returns the delay that the share u of all delays does not
	// exceed; u in [0, 1), values outside are taken as the nearest within.
	// Never negative. With u drawn evenly it draws from the distribution.
	Quantile(u float64) time.Duration
	// String is the text that Parse reads back, except for Empirical.
	String() string
}

// Longest is the longest delay that a distribution with an endless tail draws;
// longer draws become this one.
const Longest = time.Hour

// paretoSpan bounds Pareto at this multiple of its minimum: with a small alpha
// its mean is endless, and one draw could outlast any test.
const paretoSpan = 1000

type fixed time.Duration

// Fixed is the same delay always. d must not be negative.
func Fixed(d time.Duration) (Distribution, error) {
	if d < 0 {
		return nil, fmt.Errorf("fixed: want a delay of 0 or more, got %s", d)
	}
	return fixed(d), nil
}

func (f fixed) Quantile(float64) time.Duration { return time.Duration(f) }
func (f fixed) String() string                 { return time.Duration(f).String() }

type uniform struct{ lo, hi time.Duration }

// Uniform is even over [lo, hi). It wants 0 ≤ lo ≤ hi.
func Uniform(lo, hi time.Duration) (Distribution, error) {
	if lo < 0 || hi < lo {
		return nil, fmt.Errorf("uniform: want 0 ≤ low ≤ high, got low %s and high %s", lo, hi)
	}
	return uniform{lo, hi}, nil
}

func (d uniform) Quantile(u float64) time.Duration {
	return d.lo + time.Duration(clampUnit(u)*float64(d.hi-d.lo))
}

func (d uniform) String() string { return fmt.Sprintf("uniform(%q, %q)", d.lo, d.hi) }

type normal struct {
	mean, sd time.Duration
	below    float64 // share of the whole normal distribution below 0
}

// Normal is the normal distribution with mean and standard deviation sd, cut
// off at 0: what lies below is drawn again, not heaped up at 0, so that the
// mean of the draws is above mean where sd is large. mean and sd must not be
// negative; draws end at Longest.
func Normal(mean, sd time.Duration) (Distribution, error) {
	if mean < 0 || sd < 0 {
		return nil, fmt.Errorf("normal: want a mean and a standard deviation of 0 or more, got %s and %s", mean, sd)
	}
	d := normal{mean: mean, sd: sd}
	if sd > 0 {
		d.below = normalCDF(-float64(mean) / float64(sd))
	}
	return d, nil
}

func (d normal) Quantile(u float64) time.Duration {
	if d.sd == 0 {
		return d.mean
	}
	z := normalQuantile(d.below + clampUnit(u)*(1-d.below))
	return bounded(float64(d.mean)+z*float64(d.sd), Longest)
}

func (d normal) String() string { return fmt.Sprintf("normal(%q, %q)", d.mean, d.sd) }

type logNormal struct {
	median, p99 time.Duration
	sigma       float64 // standard deviation of the logarithm
}

// z99 is the 99th percentile of the standard normal distribution.
var z99 = normalQuantile(0.99)

// LogNormal is the lognormal distribution with this median and this 99th
// percentile. It wants 0 < median ≤ p99; draws end at Longest.
func LogNormal(median, p99 time.Duration) (Distribution, error) {
	if median <= 0 || p99 < median {
		return nil, fmt.Errorf("lognormal: want 0 < median ≤ p99, got median %s and p99 %s", median, p99)
	}
	return logNormal{median, p99, math.Log(float64(p99)/float64(median)) / z99}, nil
}

func (d logNormal) Quantile(u float64) time.Duration {
	if d.sigma == 0 { // 0 times an endless z would be no number
		return d.median
	}
	return bounded(float64(d.median)*math.Exp(d.sigma*normalQuantile(clampUnit(u))), max(Longest, d.p99))
}

func (d logNormal) String() string { return fmt.Sprintf("lognormal(%q, %q)", d.median, d.p99) }

type pareto struct {
	least time.Duration
	alpha float64
}

// Pareto is the Pareto distribution from least upwards with the shape alpha:
// the smaller, the heavier the tail. It wants least > 0 and a finite alpha > 0.
// Draws end at a thousand times least, and at Longest.
func Pareto(least time.Duration, alpha float64) (Distribution, error) {
	if least <= 0 {
		return nil, fmt.Errorf("pareto: want a minimum above 0, got %s", least)
	}
	if !(alpha > 0) || math.IsInf(alpha, 0) {
		return nil, fmt.Errorf("pareto: want an alpha above 0, got %v", alpha)
	}
	return pareto{least, alpha}, nil
}

func (d pareto) Quantile(u float64) time.Duration {
	top := max(Longest, d.least)
	if d.least < Longest/paretoSpan {
		top = paretoSpan * d.least
	}
	return bounded(float64(d.least)*math.Pow(1-clampUnit(u), -1/d.alpha), top)
}

func (d pareto) String() string {
	return fmt.Sprintf("pareto(%q, %s)", d.least, strconv.FormatFloat(d.alpha, 'g', -1, 64))
}

type empirical struct{ sorted []time.Duration }

// Empirical draws between the samples as they lie, interpolating between
// neighbours (type 7 of Hyndman and Fan). It copies samples, which need not be
// sorted; there must be at least one, and none negative.
func Empirical(samples []time.Duration) (Distribution, error) {
	if len(samples) == 0 {
		return nil, errors.New("empirical: want at least one sample")
	}
	sorted := slices.Clone(samples)
	slices.Sort(sorted)
	if sorted[0] < 0 {
		return nil, fmt.Errorf("empirical: want samples of 0 or more, got %s", sorted[0])
	}
	return empirical{sorted}, nil
}

func (d empirical) Quantile(u float64) time.Duration { return Quantile(d.sorted, clampUnit(u)) }

func (d empirical) String() string {
	return fmt.Sprintf("empirical(%d samples, p50 %s, p99 %s)",
		len(d.sorted), Quantile(d.sorted, 0.5), Quantile(d.sorted, 0.99))
}

// clampUnit puts u into [0, 1); NaN becomes 0.
func clampUnit(u float64) float64 {
	if !(u > 0) {
		return 0
	}
	return min(u, 1-0x1p-53)
}

// bounded turns nanoseconds into a delay in [0, top]; infinities included.
func bounded(ns float64, top time.Duration) time.Duration {
	if !(ns > 0) {
		return 0
	}
	if ns >= float64(top) {
		return top
	}
	return time.Duration(ns)
}

func normalCDF(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }

// normalQuantile is the inverse of normalCDF; -Inf at 0 and +Inf at 1.
func normalQuantile(p float64) float64 { return -math.Sqrt2 * math.Erfcinv(2*p) }

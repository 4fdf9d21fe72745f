package timing

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Interval is an estimate with its confidence interval.
type Interval struct{ Estimate, Low, High float64 }

// resamples is how many bootstrap samples an interval rests on: enough for its
// ends at 99 % to be stable in the second digit.
const resamples = 4000

// MedianInterval returns the median of values with its bias-corrected and
// accelerated (BCa) bootstrap interval at the given level, such as 0.95. Equal
// arguments give equal intervals. It wants at least 3 finite values and a level
// in (0, 1). Source: Efron, "Better bootstrap confidence intervals", JASA 1987.
func MedianInterval(values []float64, level float64, seed uint64) (Interval, error) {
	n := len(values)
	if n < 3 {
		return Interval{}, fmt.Errorf("median interval: want at least 3 values, got %d", n)
	}
	if !(level > 0 && level < 1) {
		return Interval{}, fmt.Errorf("median interval: want a level in (0, 1), got %v", level)
	}
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return Interval{}, errors.New("median interval: want finite values")
		}
	}
	sorted := slices.Sorted(slices.Values(values))
	estimate := Quantile(sorted, 0.5)

	medians := make([]float64, resamples)
	drawn := make([]float64, n)
	state := seed
	for i := range medians {
		for j := range drawn {
			state += golden
			drawn[j] = sorted[int(Unit(finalise(state))*float64(n))]
		}
		slices.Sort(drawn)
		medians[i] = Quantile(drawn, 0.5)
	}
	slices.Sort(medians)

	// Bias: where the estimate lies among the resampled medians. Ties count
	// half, as a median often meets itself again; the ends are kept finite.
	below, _ := slices.BinarySearch(medians, estimate)
	upTo, _ := slices.BinarySearch(medians, math.Nextafter(estimate, math.Inf(1)))
	share := (float64(below+upTo)/2 + 0.5) / (resamples + 1)
	bias := normalQuantile(share)
	accel := acceleration(sorted)

	end := func(p float64) float64 {
		z := bias + normalQuantile(p)
		// The correction has a pole where accel*z reaches 1; stay short of it.
		return Quantile(medians, normalCDF(bias+z/max(1-accel*z, 0.01)))
	}
	return Interval{estimate, end((1 - level) / 2), end((1 + level) / 2)}, nil
}

// acceleration is the skewness of the median's jackknife values over 6; 0 where
// they do not vary.
func acceleration(sorted []float64) float64 {
	n := len(sorted)
	left := make([]float64, n)
	rest := make([]float64, 0, n)
	var mean float64
	for i := range sorted {
		rest = append(append(rest[:0], sorted[:i]...), sorted[i+1:]...)
		left[i] = Quantile(rest, 0.5)
		mean += left[i] / float64(n)
	}
	var squares, cubes float64
	for _, m := range left {
		d := mean - m
		squares += d * d
		cubes += d * d * d
	}
	if squares == 0 {
		return 0
	}
	return cubes / (6 * math.Pow(squares, 1.5))
}

package timing

import (
	"math"
	"slices"
	"time"
)

// Number is what the statistics work on: durations as well as plain values.
type Number interface{ ~int64 | ~float64 }

// Quantile returns the p-quantile of sorted, p in [0, 1], interpolating between
// neighbours: type 7 of Hyndman and Fan (1996), as R and NumPy do by default.
// sorted must be in ascending order; the zero value is returned for an empty one.
func Quantile[T Number](sorted []T, p float64) T {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	h := float64(n-1) * min(max(p, 0), 1)
	i := int(h)
	if i >= n-1 {
		return sorted[n-1]
	}
	below, above := float64(sorted[i]), float64(sorted[i+1])
	if below == above { // also where both are infinite
		return sorted[i]
	}
	return sorted[i] + T((h-float64(i))*(above-below))
}

// Median returns the median of values, which need not be sorted and are kept.
func Median[T Number](values []T) T { return Quantile(sortedCopy(values), 0.5) }

// KS returns the Kolmogorov–Smirnov distance of two samples: the largest gap
// between their cumulative distributions, in [0, 1]. It is 0 when either is
// empty. The samples need not be sorted and are kept.
func KS[T Number](a, b []T) float64 {
	var largest float64
	walk(sortedCopy(a), sortedCopy(b), func(_, _ T, shareA, shareB float64) {
		largest = max(largest, math.Abs(shareA-shareB))
	})
	return largest
}

// Wasserstein1 returns the 1-Wasserstein (earth mover's) distance of two
// samples: the area between their cumulative distributions, in the samples'
// unit (nanoseconds for durations). It is 0 when either is empty. The samples
// need not be sorted and are kept.
func Wasserstein1[T Number](a, b []T) float64 {
	var area float64
	walk(sortedCopy(a), sortedCopy(b), func(from, to T, shareA, shareB float64) {
		area += math.Abs(shareA-shareB) * (float64(to) - float64(from))
	})
	return area
}

// walk visits the steps of two cumulative distributions together: between from
// and to they stand at shareA and shareB. At the last value both are 1, and from
// equals to.
func walk[T Number](a, b []T, visit func(from, to T, shareA, shareB float64)) {
	if len(a) == 0 || len(b) == 0 {
		return
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		at := nextValue(a, b, i, j)
		for i < len(a) && a[i] == at {
			i++
		}
		for j < len(b) && b[j] == at {
			j++
		}
		to := at
		if i < len(a) || j < len(b) {
			to = nextValue(a, b, i, j)
		}
		visit(at, to, float64(i)/float64(len(a)), float64(j)/float64(len(b)))
	}
}

// nextValue is the smaller of a[i] and b[j]; one of them may be used up.
func nextValue[T Number](a, b []T, i, j int) T {
	if i >= len(a) || (j < len(b) && b[j] < a[i]) {
		return b[j]
	}
	return a[i]
}

// Summary is what a set of durations looks like at a glance.
type Summary struct {
	N                  int
	P50, P90, P95, P99 time.Duration
	Max, Mean          time.Duration
}

// Summarize returns the summary of samples, which need not be sorted and are
// kept; the zero value for none.
func Summarize(samples []time.Duration) Summary {
	if len(samples) == 0 {
		return Summary{}
	}
	sorted := sortedCopy(samples)
	var sum float64 // a float, so that long samples cannot overflow it
	for _, d := range sorted {
		sum += float64(d)
	}
	return Summary{
		N:   len(sorted),
		P50: Quantile(sorted, 0.50), P90: Quantile(sorted, 0.90),
		P95: Quantile(sorted, 0.95), P99: Quantile(sorted, 0.99),
		Max:  sorted[len(sorted)-1],
		Mean: time.Duration(sum / float64(len(sorted))),
	}
}

// sortedCopy drops NaN, which has no place in an order.
func sortedCopy[T Number](values []T) []T {
	sorted := make([]T, 0, len(values))
	for _, v := range values {
		if v == v {
			sorted = append(sorted, v)
		}
	}
	slices.Sort(sorted)
	return sorted
}

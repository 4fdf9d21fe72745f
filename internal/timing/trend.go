package timing

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Trend returns the slope of y over x by Theil and Sen, the median of the slopes
// between all pairs of points, with Sen's interval at the given level, such as
// 0.95. A third of the points may be far off without moving it much. It wants at
// least 4 points, finite, of which no two have the same x, and a level in (0, 1).
// The work grows with the square of their number. Source: Sen, "Estimates of the
// regression coefficient based on Kendall's tau", JASA 1968; ties in y are not
// corrected for, which widens the interval.
func Trend(x, y []float64, level float64) (Interval, error) {
	n := len(x)
	switch {
	case n != len(y):
		return Interval{}, fmt.Errorf("trend: want points, got %d x and %d y", n, len(y))
	case n < 4:
		return Interval{}, fmt.Errorf("trend: want at least 4 points, got %d", n)
	case !(level > 0 && level < 1):
		return Interval{}, fmt.Errorf("trend: want a level in (0, 1), got %v", level)
	}
	slopes := make([]float64, 0, n*(n-1)/2)
	for i := range x {
		for j := range i {
			slope := (y[i] - y[j]) / (x[i] - x[j])
			if math.IsNaN(slope) || math.IsInf(slope, 0) {
				return Interval{}, errors.New("trend: want finite values, each at an x of its own")
			}
			slopes = append(slopes, slope)
		}
	}
	slices.Sort(slopes)
	pairs := float64(len(slopes))
	// Half the width, in ranks: the spread of Kendall's S where there is no trend.
	wide := normalQuantile((1+level)/2) * math.Sqrt(float64(n)*float64(n-1)*float64(2*n+5)/18)
	at := func(rank float64) float64 {
		return slopes[int(min(max(rank, 0), pairs-1))]
	}
	return Interval{Quantile(slopes, 0.5), at(math.Floor((pairs - wide) / 2)), at(math.Ceil((pairs + wide) / 2))}, nil
}

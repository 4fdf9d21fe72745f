package shaping

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Quantile says that a share P of what was measured was At or less.
type Quantile struct {
	P  float64 // in [0, 1]
	At time.Duration
}

// FromSamples is the distribution of what was measured, delays or round trips. Its
// Delay is their mean; with its Jitter the tails come back whole, wherefore it is
// larger than σ where something lies more than 4σ from the mean. For a path of two
// directions that are shaped alike, halve round trips.
func FromSamples(samples []time.Duration) (*Distribution, error) {
	if len(samples) < 2 {
		return nil, errors.New("want two samples or more")
	}
	sorted := slices.Clone(samples)
	slices.Sort(sorted)
	values := make([]float64, min(tableSize, max(len(sorted), 64)))
	last := float64(len(sorted) - 1)
	for i := range values {
		// Each sample stands for the middle of its share.
		at := min(max((float64(i)+0.5)/float64(len(values))*float64(len(sorted))-0.5, 0), last)
		low := int(at)
		high := min(low+1, len(sorted)-1)
		values[i] = float64(sorted[low]) + (at-float64(low))*float64(sorted[high]-sorted[low])
	}
	return fromValues(values)
}

// FromQuantiles is the distribution that has these quantiles and is straight between
// them; two or more, ascending in both fields. Before the first and after the last it
// is flat.
func FromQuantiles(quantiles []Quantile) (*Distribution, error) {
	if len(quantiles) < 2 {
		return nil, errors.New("want two quantiles or more")
	}
	for i, q := range quantiles {
		if !(q.P >= 0 && q.P <= 1) || i > 0 && (q.P <= quantiles[i-1].P || q.At < quantiles[i-1].At) {
			return nil, fmt.Errorf("want quantiles ascending from 0%% to 100%%, got %s at %s", formatList(q.P), q.At)
		}
	}
	values := make([]float64, tableSize)
	next := 0
	for i := range values {
		p := (float64(i) + 0.5) / tableSize
		for next < len(quantiles) && quantiles[next].P < p {
			next++
		}
		switch {
		case next == 0:
			values[i] = float64(quantiles[0].At)
		case next == len(quantiles):
			values[i] = float64(quantiles[next-1].At)
		default:
			a, b := quantiles[next-1], quantiles[next]
			values[i] = float64(a.At) + (p-a.P)/(b.P-a.P)*float64(b.At-a.At)
		}
	}
	return fromValues(values)
}

// fromValues makes a table of evenly spaced quantiles in nanoseconds, ascending.
func fromValues(values []float64) (*Distribution, error) {
	mean, sigma := moments(values)
	unit := max(sigma, (values[len(values)-1]-mean)/tableMost, (mean-values[0])/tableMost)
	switch {
	case values[0] < 0:
		return nil, errors.New("want durations of 0 or more")
	case sigma < 1:
		return nil, errors.New("all are the same: that is a delay without jitter")
	case unit > float64(MaxJitter):
		return nil, fmt.Errorf("want a jitter of at most %v, got %v", MaxJitter, time.Duration(unit))
	}
	for i, v := range values {
		values[i] = (v - mean) / unit
	}
	return &Distribution{Table: toTable(values), Delay: time.Duration(math.Round(mean)), Jitter: time.Duration(math.Round(unit))}, nil
}

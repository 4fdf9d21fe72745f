package main

import (
	"fmt"
	"math"
	"slices"
)

// spread is a figure over the rounds.
type spread struct{ median, low, high float64 }

// over folds values into their median, least and greatest; NaN for none.
func over(values []float64) spread {
	values = slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	if len(values) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	slices.Sort(values)
	mid := len(values) / 2
	m := values[mid]
	if len(values)%2 == 0 {
		m = (values[mid-1] + values[mid]) / 2
	}
	return spread{m, values[0], values[len(values)-1]}
}

// figure takes one number out of a sample.
type figure func(sample) float64

func cpuOf(s sample) float64 { return s.cpu }
func rpsOf(s sample) float64 { return s.rps }
func p50Of(s sample) float64 { return s.p50 }
func p99Of(s sample) float64 { return s.p99 }
func rssOf(s sample) float64 { return s.rss }

func socket50Of(s sample) float64 { return s.stamps.socket50 }
func socket99Of(s sample) float64 { return s.stamps.socket99 }
func read50Of(s sample) float64   { return s.stamps.seen50 }
func read99Of(s sample) float64   { return s.stamps.seen99 }

func (c *cell) over(f figure) spread {
	if c == nil {
		return over(nil)
	}
	var values []float64
	for _, s := range c.samples {
		values = append(values, f(s))
	}
	return over(values)
}

// against combines the two cells' samples round by round.
func (c *cell) against(ref *cell, combine func(a, b sample) float64) spread {
	if c == nil || ref == nil {
		return over(nil)
	}
	var values []float64
	for i := range min(len(c.samples), len(ref.samples)) {
		values = append(values, combine(c.samples[i], ref.samples[i]))
	}
	return over(values)
}

func ratio(f figure) func(a, b sample) float64 {
	return func(a, b sample) float64 {
		if f(b) == 0 {
			return math.NaN()
		}
		return f(a) / f(b)
	}
}

func difference(f figure) func(a, b sample) float64 {
	return func(a, b sample) float64 { return f(a) - f(b) }
}

// print writes the median with the given decimals; a dash for none.
func (s spread) print(decimals int) string {
	if math.IsNaN(s.median) {
		return "–"
	}
	return thousands(fmt.Sprintf("%.*f", decimals, s.median))
}

// wide writes the median with the least and the greatest.
func (s spread) wide(decimals int) string {
	if math.IsNaN(s.median) {
		return "–"
	}
	return fmt.Sprintf("%s (%.*f–%.*f)", s.print(decimals), decimals, s.low, decimals, s.high)
}

// thousands puts commas into the whole part of a number.
func thousands(s string) string {
	end := len(s)
	for i, c := range s {
		if c == '.' {
			end = i
			break
		}
	}
	for at := end - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

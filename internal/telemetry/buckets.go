package telemetry

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// scale is the bounds of a histogram's buckets, in ascending order, and how many of
// theirs make one of the metric's unit.
type scale struct {
	bounds []int64
	unit   float64
}

// inSeconds is a scale for durations, which are counted as whole nanoseconds.
func inSeconds(bounds ...float64) *scale {
	s := &scale{unit: 1e9}
	for _, b := range bounds {
		s.bounds = append(s.bounds, int64(math.Round(b*s.unit)))
	}
	return s
}

// buckets is a histogram whose scale its user knows. Compared as whole numbers an
// exchange's ten cost half of what they do as seconds.
type buckets struct {
	counts [16]uint64 // not cumulative; the last one that is used has no bound
	sum    float64    // whole nanoseconds would be too many in days of very many exchanges at once
}

func (b *buckets) add(v int64, s *scale) {
	i := 0
	for i < len(s.bounds) && v > s.bounds[i] {
		i++
	}
	b.counts[i]++
	b.sum += float64(v)
}

func (b *buckets) join(o *buckets) {
	for i, n := range o.counts {
		b.counts[i] += n
	}
	b.sum += o.sum
}

func (b *buckets) metric(d *prometheus.Desc, s *scale, labels ...string) prometheus.Metric {
	upTo := make(map[float64]uint64, len(s.bounds))
	var n uint64
	for i, bound := range s.bounds {
		n += b.counts[i]
		upTo[float64(bound)/s.unit] = n
	}
	return prometheus.MustNewConstHistogram(d, n+b.counts[len(s.bounds)], b.sum/s.unit, upTo, labels...)
}

package timing

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// estimate follows one quantile of a stream of durations in ns: each sample
// moves it by a sixteenth of itself at most, so one outlier does little, and a
// machine that changes its habits is caught up with in some tens of samples.
// Source: Ma, Muthukrishnan, Sandler, "Frugal streaming for estimating
// quantiles", 2013, with a step that grows with the value.
//
// Reading is free of locks; two writers at once may lose a sample, no more.
type estimate struct {
	value    atomic.Int64
	quantile float64
	most     int64 // never goes beyond this
}

func (e *estimate) learn(sample int64) {
	v := e.value.Load()
	step := float64(max(v/16, 250))
	if sample > v {
		v += int64(step * e.quantile)
	} else {
		v -= int64(step * (1 - e.quantile))
	}
	e.value.Store(min(max(v, 0), e.most))
}

// lateness counts how far from its moment each wait ended: bins of 1 µs from
// −20 to 108 µs, beyond them 32 bins for each doubling, up to some minutes. It
// may be written by many at once.
type lateness struct {
	bins [fineBins + octaves*octaveBins]atomic.Uint64
}

const (
	fineBins   = 128
	octaveBins = 32 // of a width of at most 1/32 of the value
	octaves    = 22
)

func bin(late int64) int {
	µs := (late + earliest) / 1000
	if µs < fineBins {
		return int(max(µs, 0))
	}
	octave := bits.Len64(uint64(µs)) - 8 // 128..255 is octave 0
	within := int(µs>>(octave+2)) - octaveBins
	return min(fineBins+octave*octaveBins+within, fineBins+octaves*octaveBins-1)
}

// binMiddle returns the middle of a bin, in ns.
func binMiddle(i int) int64 {
	if i < fineBins {
		return int64(i)*1000 + 500 - earliest
	}
	octave, within := (i-fineBins)/octaveBins, (i-fineBins)%octaveBins
	width := int64(1) << (octave + 2)
	return (int64(within+octaveBins)*width+width/2)*1000 - earliest
}

func (l *lateness) add(late int64) { l.bins[bin(late)].Add(1) }

// addTo adds the counts to sum, of len(l.bins), and returns how many there were.
func (l *lateness) addTo(sum []uint64) (n uint64) {
	for i := range l.bins {
		c := l.bins[i].Load()
		sum[i] += c
		n += c
	}
	return n
}

// binQuantile returns the p-quantile of counts in bins; 0 when there are none.
func binQuantile(counts []uint64, p float64) time.Duration {
	var n, seen uint64
	for _, c := range counts {
		n += c
	}
	rank := max(1, uint64(math.Ceil(p*float64(n))))
	for i, c := range counts {
		if seen += c; c > 0 && seen >= rank {
			return time.Duration(binMiddle(i))
		}
	}
	return 0
}

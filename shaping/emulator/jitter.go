package emulator

import (
	"math"
	"slices"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/shaping"
)

// jitter is by how much a delay varies at a moment. netem draws for each packet, and
// then either lets packets overtake each other, which TCP takes for loss, or holds those
// behind a late one up, which adds to the mean. Here the delay itself varies over time:
// packets that leave close to each other take about as long, so that they stay in order,
// and the distribution at every moment is what was asked for.
//
// Normal numbers are drawn for moments that lie some jitters apart, and turned into each
// other on a quarter of a circle, which keeps their variance; the distribution's inverse
// makes the delay of them.
type jitter struct {
	seed   uint64
	most   time.Duration // ±, or σ
	apart  time.Duration // between two draws
	memory float64       // correlation from one draw to the next
	shape  *shaping.Distribution
	table  []int16 // its inverse; nil for uniform

	drawn int64 // the number of the first of the two below
	from  float64
	to    float64
	valid bool
}

const (
	// spread is how many jitters two draws lie apart: with 6 a delay seldom falls faster
	// than time goes by, which would be overtaking and is held up. A Pareto
	// distribution, whose tail is the longest, keeps its mean within 2% of the jitter.
	spread = 6
	// leastApart keeps the smallest jitters from being drawn all the time.
	leastApart = time.Millisecond
	// rememberedDraws is how many draws before go into a correlated one.
	rememberedDraws = 64
	// tableUnit stands for one σ in a table. Source: linux/pkt_sched.h, NETEM_DIST_SCALE.
	tableUnit = 8192
)

func (j *jitter) change(c shaping.Conditions, seed uint64) {
	table := j.table
	if c.Distribution != j.shape {
		if table = nil; c.Distribution != nil {
			table = sorted(c.Distribution)
		}
	}
	*j = jitter{shape: c.Distribution, table: table, seed: timing.MixString(seed, "jitter"), most: c.Jitter, memory: c.DelayCorrelation}
	j.apart = max(spread*c.Jitter, leastApart)
}

// sorted is a distribution's table as an inverse, whatever order it came in.
func sorted(d *shaping.Distribution) []int16 {
	t := slices.Clone(d.Table)
	slices.Sort(t)
	return t
}

func (j *jitter) at(moment time.Duration) time.Duration {
	n := int64(moment / j.apart)
	if !j.valid || n != j.drawn {
		j.from, j.to = j.normal(n), j.normal(n+1)
		j.drawn, j.valid = n, true
	}
	sin, cos := math.Sincos(math.Pi / 2 * float64(moment-time.Duration(n)*j.apart) / float64(j.apart))
	z := cos*j.from + sin*j.to
	if j.memory > 0 { // two that are correlated have more variance between them
		z /= math.Sqrt(1 + 2*sin*cos*j.memory)
	}
	return of(j.table, j.most, math.Erfc(-z/math.Sqrt2)/2)
}

// of is the value that a share p of all is below: of a table, or uniform over ±most.
func of(table []int16, most time.Duration, p float64) time.Duration {
	if table == nil {
		return time.Duration((2*p - 1) * float64(most))
	}
	i := min(max(int(p*float64(len(table))), 0), len(table)-1)
	return time.Duration(float64(table[i]) / tableUnit * float64(most))
}

// normal is the n-th draw: a moving average of independent ones where it has a memory.
func (j *jitter) normal(n int64) float64 {
	if j.memory == 0 {
		return j.independent(n)
	}
	sum, weight, squares := 0.0, 1.0, 0.0
	for i := range int64(rememberedDraws) {
		sum += weight * j.independent(n-i)
		squares += weight * weight
		weight *= j.memory
	}
	return sum / math.Sqrt(squares)
}

func (j *jitter) independent(n int64) float64 {
	u := timing.Unit(timing.Mix(j.seed, uint64(n)))
	return math.Sqrt2 * math.Erfinv(2*min(max(u, 0x1p-53), 1-0x1p-53)-1)
}

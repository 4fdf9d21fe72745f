package verify

import (
	"slices"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
)

// tableUnit stands for one σ in a distribution's table. Source: linux/pkt_sched.h,
// NETEM_DIST_SCALE.
const tableUnit = 8192

// drawsApart is how far two independent values of a jitter lie from each other in time.
// understudy's own engine draws one each six jitters, so that packets stay in order;
// netem, which draws for each packet, is taken for no better. What is correlated counts
// as often as it says something new.
func drawsApart(c shaping.Conditions) time.Duration {
	if c.Jitter == 0 {
		return 0
	}
	memory := min(c.DelayCorrelation, 0.99)
	return time.Duration(float64(6*c.Jitter) * (1 + memory) / (1 - memory))
}

// delays are what conditions ask of a small packet's delay.
type delays struct {
	c     shaping.Conditions
	table []int16
	fixed time.Duration // what it takes at the rate
}

func delaysOf(c shaping.Conditions) delays {
	d := delays{c: c, fixed: took(c, ProbeSize+etherHeader)}
	if c.Jitter > 0 && c.Distribution != nil {
		d.table = slices.Clone(c.Distribution.Table)
		slices.Sort(d.table)
	}
	return d
}

// quantile is the delay that a share p of packets stays below. Those that skip the delay
// come first.
func (d delays) quantile(p float64) time.Duration {
	ahead := d.c.Reorder / float64(max(d.c.Gap, 1))
	if p < ahead {
		return 0
	}
	if ahead > 0 {
		p = (p - ahead) / (1 - ahead)
	}
	return max(d.c.Delay+d.jitter(min(max(p, 0), 1)), 0) + d.fixed
}

func (d delays) jitter(p float64) time.Duration {
	switch {
	case d.c.Jitter == 0:
		return 0
	case len(d.table) == 0:
		return time.Duration((2*p - 1) * float64(d.c.Jitter))
	}
	i := min(int(p*float64(len(d.table))), len(d.table)-1)
	return time.Duration(float64(d.table[i]) / tableUnit * float64(d.c.Jitter))
}

// mostDelay is the longest delay that conditions have.
func mostDelay(c shaping.Conditions) time.Duration {
	if c.DelayTrace != nil {
		return c.DelayTrace.Most()
	}
	return delaysOf(c).quantile(1)
}

// chain is a loss with a memory: how likely it goes from one state to another, and loses
// in each.
type chain struct {
	next  [][]float64
	loses []float64
}

// lossOf is the share of packets that conditions lose in the long run, and by how much
// more such a count varies than one of losses that do not know of each other: so many
// times fewer packets would say as much.
func lossOf(c shaping.Conditions) (share, inflation float64) {
	share, inflation = c.Loss, 1
	switch {
	case c.GilbertElliott != shaping.GilbertElliott{}:
		g := c.GilbertElliott
		share, inflation = chain{[][]float64{{1 - g.ToBad, g.ToBad}, {g.ToGood, 1 - g.ToGood}}, []float64{g.LossInGood, g.LossInBad}}.moments()
	case c.FourState != shaping.FourState{}:
		s := c.FourState
		share, inflation = chain{[][]float64{
			{1 - s.P13 - s.P14, 0, s.P13, s.P14},
			{0, 1 - s.P23, s.P23, 0},
			{s.P31, s.P32, 1 - s.P31 - s.P32, 0},
			{1, 0, 0, 0},
		}, []float64{0, 0, 1, 1}}.moments()
	case c.LossCorrelation > 0:
		r := min(c.LossCorrelation, 0.99)
		inflation = (1 + r) / (1 - r)
	}
	// Of one that is doubled a packet has to be lost twice.
	share *= 1 - c.Duplicate + c.Duplicate*share
	return share, inflation
}

// chainSteps are as many as a chain is followed: what it still remembers then says
// nothing to a few thousand packets.
const chainSteps = 5000

// moments are the chain's share of losses and the inflation of its counts.
func (c chain) moments() (share, inflation float64) {
	at := make([]float64, len(c.loses))
	at[0] = 1
	sum := make([]float64, len(at))
	for range chainSteps { // the mean over time: a chain may alternate for ever
		for i, p := range at {
			sum[i] += p / chainSteps
		}
		at = c.step(at)
	}
	weighted := make([]float64, len(at))
	for i, p := range sum {
		share += p * c.loses[i]
		weighted[i] = p * c.loses[i]
	}
	single := share * (1 - share)
	if single <= 0 {
		return share, 1
	}
	inflation = 1
	for range chainSteps {
		weighted = c.step(weighted)
		both := 0.0
		for i, w := range weighted {
			both += w * c.loses[i]
		}
		more := 2 * (both - share*share) / single
		if inflation += more; more < 1e-6 && more > -1e-6 {
			break
		}
	}
	return share, max(inflation, 1)
}

func (c chain) step(at []float64) []float64 {
	to := make([]float64, len(at))
	for i, p := range at {
		for j, q := range c.next[i] {
			to[j] += p * q
		}
	}
	return to
}

package verify

import (
	"slices"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
)

// Asked is what one direction was asked to do.
type Asked struct {
	Class      string // of the link; "" for the link itself
	Direction  shaping.Direction
	Conditions shaping.Conditions // resolved
	// PerPacket says that each packet draws its own delay, as netem does.
	PerPacket bool
}

// Samples are what became of the packets of a Plan.
type Samples struct {
	Sent   int             // small packets
	Over   time.Duration   // from the first of them to the last
	Delays []time.Duration // of those that came whole, each once; in no order
	// Train is what came of the large packets, whole, copies too, in the order in which it
	// came.
	Train []Arrival
	// TrainSent large packets were sent within TrainOver.
	TrainSent int
	TrainOver time.Duration
	// Missed packets came and were not read in time.
	Missed int
}

// Arrival is a large packet that came.
type Arrival struct {
	At   time.Duration // from any moment on
	Size int           // as Plan.TrainSize counts
}

// Verdict is what one row comes to.
type Verdict string

// The verdicts.
const (
	OK       Verdict = "ok"
	Disagree Verdict = "disagree"
	Unsure   Verdict = "unsure" // it could not be told, and Why says the reason
)

// Row is one thing that was asked, beside what was achieved. They agree where Asked lies
// within Low and High.
type Row struct {
	Class     string            `json:"class,omitempty"` // of the link; "" for the link itself
	Direction shaping.Direction `json:"direction"`
	What      string            `json:"what"` // delay_p10, delay_p50, delay_p90, loss, rate
	Unit      string            `json:"unit"` // ms, share, bit/s
	Asked     float64           `json:"asked"`
	Achieved  float64           `json:"achieved"`
	// Low and High are the interval of what was achieved, measuring error included.
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"` // of a verdict that is not ok
}

const (
	// alpha is the chance that a row of a link which does what was asked says otherwise:
	// with at most ten rows a false alarm has less than 1%.
	alpha = 0.001

	// The measuring error. A packet is not delivered before its time but by the engine's
	// 50 µs; it is later by what this machine takes to wake up, which it takes for the
	// slowest tenth now and then for much longer.
	early    = 500 * time.Microsecond
	late     = 2 * time.Millisecond
	lateTail = 5 * time.Millisecond
	tail     = 0.75 // from this quantile on lateTail holds

	// rateError is the measuring error of a rate.
	rateError = 0.05
	// roughRate is from what error on a rate says nothing.
	roughRate = 0.2
	// A delay's interval says nothing where it is wider than that, and than a half of the
	// delay.
	roughDelay = 20 * time.Millisecond
)

// Judge says of each thing that was asked of a direction what was achieved.
func Judge(a Asked, s Samples) (rows []Row) {
	d := delaysOf(a.Conditions)
	slices.Sort(s.Delays)
	for _, q := range []struct {
		what string
		p    float64
	}{{"delay_p10", 0.1}, {"delay_p50", 0.5}, {"delay_p90", 0.9}} {
		rows = append(rows, judgeDelay(a, s, d, q.what, q.p))
	}
	rows = append(rows, judgeLoss(a, s))
	if a.Conditions.Rate > 0 || a.Conditions.Trace != nil {
		rows = append(rows, judgeRate(a, s, d))
	}
	return rows
}

// settle gives a row whose numbers are there its verdict: asked may be anything up to
// most, where conditions leave that open.
func (r Row) settle(most float64) Row {
	r.Verdict = OK
	if r.High < r.Asked || r.Low > max(most, r.Asked) {
		r.Verdict = Disagree
	}
	return r
}

func (r Row) unsure(why string) Row {
	r.Verdict, r.Why = Unsure, why
	return r
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func judgeDelay(a Asked, s Samples, d delays, what string, p float64) Row {
	c := &a.Conditions
	r := Row{Class: a.Class, Direction: a.Direction, What: what, Unit: "ms"}
	n := float64(len(s.Delays))
	if n > 0 {
		r.Achieved = milliseconds(s.Delays[min(int(p*n), len(s.Delays)-1)])
		r.Low, r.High = r.Achieved, r.Achieved
	}
	switch {
	case c.DelayTrace != nil || c.Trace != nil:
		return r.unsure("a trace has no one delay")
	case c.Slot != shaping.Slot{}:
		return r.unsure("slots hold packets back")
	}
	r.Asked = milliseconds(d.quantile(p))
	if n == 0 {
		return r.unsure("no probe came")
	}
	// Where packets sent close to each other take about as long, few of them count.
	if apart := drawsApart(*c); apart > 0 {
		n = min(n, float64(s.Over)/float64(apart)+1)
	}
	// The share of all delays that may lie below what a share p of these does.
	low, high := clopperPearson(p*n, n, alpha)
	least, most := d.quantile(low), d.quantile(high)
	slow := late
	if p >= tail {
		slow = lateTail
	}
	r.Low = max(r.Low-milliseconds(most-d.quantile(p)+slow), 0)
	r.High += milliseconds(d.quantile(p) - least + early)
	r = r.settle(r.Asked)
	if a.PerPacket && c.Jitter > 0 && c.Rate > 0 && r.Verdict == Disagree && r.Low > r.Asked {
		return r.unsure("with a rate netem's jitter holds packets up, which adds to the delay")
	}
	if wide := most - least; r.Verdict == OK && wide > max(roughDelay, d.quantile(p)/2) {
		return r.unsure("the jitter is slow: too few of its values were seen")
	}
	return r
}

func judgeLoss(a Asked, s Samples) Row {
	share, inflation := lossOf(a.Conditions)
	r := Row{Class: a.Class, Direction: a.Direction, What: "loss", Unit: "share", Asked: share}
	if s.Sent == 0 {
		return r.unsure("no probe was sent")
	}
	n, lost := float64(s.Sent), float64(max(s.Sent-len(s.Delays), 0))
	r.Achieved = lost / n
	r.Low, r.High = clopperPearson(lost/inflation, n/inflation, alpha)
	// One whose bit flips is not always lost by that.
	r = r.settle(1 - (1-share)*(1-a.Conditions.Corrupt))
	if _, high := clopperPearson(share*n/inflation, n/inflation, alpha); r.Verdict == OK && share > 0 && share <= 0.5 && high > 2*share {
		return r.unsure("too few packets: twice the loss would look the same")
	}
	return r
}

func judgeRate(a Asked, s Samples, d delays) Row {
	c := &a.Conditions
	r := Row{Class: a.Class, Direction: a.Direction, What: "rate", Unit: "bit/s", Asked: float64(c.Rate)}
	if c.Trace != nil {
		return r.unsure("a trace has no one rate")
	}
	if len(s.Train) < 3 || s.Train[len(s.Train)-1].At <= s.Train[0].At {
		return r.unsure("too few packets came")
	}
	over := s.Train[len(s.Train)-1].At - s.Train[0].At
	bits := 0.0
	for _, t := range s.Train[1:] {
		bits += 8 * costs(*c, t.Size+etherHeader)
	}
	r.Achieved = bits / over.Seconds()
	wide := rateError + float64(d.quantile(0.99)-d.quantile(0.01))/float64(over)
	r.Low, r.High = r.Achieved*(1-wide), r.Achieved*(1+wide)/(1-min(c.Corrupt, 0.5))
	// Those that skip the delay skip the rate.
	r = r.settle(r.Asked / (1 - min(c.Reorder/float64(max(c.Gap, 1)), 0.9)))
	offered := 8 * costs(*c, s.Train[0].Size+etherHeader) * float64(s.TrainSent) / max(s.TrainOver, 1).Seconds()
	switch {
	case c.Slot != shaping.Slot{}:
		return r.unsure("slots hold packets back")
	case r.Verdict == Disagree && r.High < r.Asked && offered < 1.1*r.Asked:
		return r.unsure("the probes could not be sent faster than that")
	case r.Verdict == Disagree && r.High < r.Asked && s.Missed > 0:
		return r.unsure("the probes could not be read as fast as they came")
	case r.Verdict == OK && wide > roughRate:
		return r.unsure("the jitter is too large beside the time measured")
	}
	return r
}

package gate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// DefaultSoakLimits are what a process may grow by in an hour, or in the whole of a
// shorter soak, where the budget says nothing of it: about what a heap and the
// runtime's own tables do until they have found their size.
var DefaultSoakLimits = Limits{
	"rss": {Value: 16 << 20}, "heap": {Value: 4 << 20}, "descriptors": {Value: 8}, "goroutines": {Value: 8}, "threads": {Value: 4},
}

// leftOver is how many more descriptors or goroutines than before the load may be
// there after it. Descriptors may be one more for each connection: who waits for a
// moment takes a timer from a pool, which is as large as there ever were at once.
const leftOver = 4

// vital is one of the Vitals.
type vital struct {
	name string
	unit Unit
	of   func(*Vitals) int64
	back bool // it comes back to the idle level
	heap bool // garbage is in it until a collection
	// below is the part of a window's readings that may be below its floor.
	below float64
}

var vitals = []vital{
	{name: "rss", unit: UnitBytes, of: func(v *Vitals) int64 { return v.RSS }, heap: true, below: 0.25},
	{name: "heap", unit: UnitBytes, of: func(v *Vitals) int64 { return v.Heap }, heap: true},
	{name: "descriptors", unit: UnitCount, of: func(v *Vitals) int64 { return v.Descriptors }, back: true},
	{name: "goroutines", unit: UnitCount, of: func(v *Vitals) int64 { return v.Goroutines }, back: true},
	{name: "threads", unit: UnitCount, of: func(v *Vitals) int64 { return v.Threads }},
}

// soakWindows are how many pieces the samples are cut into: a trend is drawn through
// what is there in each of them (see floorOf), and neighbouring windows depend little
// on each other.
const soakWindows = 30

// A trend needs so many readings, and that of a heap so many collections, for until
// one comes all that is allocated looks like growth.
const leastReadings, leastCollections = 8, 8

// growth is the trend of each of the vitals per hour, judged by what o allows. The
// first tenth is left out: pools and caches fill.
func growth(samples []Sample, o SoakOptions) ([]Metric, error) {
	warm := o.Duration / 10
	for len(samples) > 0 && samples[0].At < warm {
		samples = samples[1:]
	}
	windows, collections := min(soakWindows, len(samples)), int64(0)
	if windows > 0 {
		collections = samples[len(samples)-1].Collections - samples[0].Collections
	}
	metrics := make([]Metric, len(vitals))
	for i, v := range vitals {
		m := &metrics[i]
		limit := o.soakLimit(v.name)
		*m = Metric{Name: v.name + "_per_hour", Unit: v.unit, Limit: &limit.Value, Line: limit.Line}
		if windows < leastReadings {
			m.unmeasured(fmt.Sprintf("%d readings after the warm-up", len(samples)))
			continue
		}
		if v.heap && collections < leastCollections {
			m.unmeasured(fmt.Sprintf("%d collections after the warm-up, %d would tell", collections, leastCollections))
			continue
		}
		var x, y []float64
		for w := range windows {
			part := samples[w*len(samples)/windows : (w+1)*len(samples)/windows]
			at := part[0].At + (part[len(part)-1].At-part[0].At)/2
			x, y = append(x, at.Hours()), append(y, v.floorOf(part))
		}
		iv, err := timing.Trend(x, y, o.Level)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		m.Estimate, m.Low, m.High, m.Pairs = iv.Estimate, iv.Low, iv.High, y
		m.Note = fmt.Sprintf("from %s to %s", m.format(y[0]), m.format(y[windows-1]))
		m.judge()
	}
	return metrics, nil
}

// floorOf is what the figure was never below in the samples or, of RSS, in three
// quarters of them.
//
// A count is what leaked and what is at work at the moment. That is never less than
// nothing, and wobbles with the load and with whatever else the machine does: an HTTP/2
// request under way has three goroutines. What leaked is in every reading, so it is in
// the least one in full, beside the least that was at work. So it is with what a
// collection found alive. RSS has garbage in it, too, and the runtime gives it back when
// it likes.
func (v vital) floorOf(samples []Sample) float64 {
	values := make([]float64, len(samples))
	for i := range samples {
		values[i] = float64(v.of(&samples[i].Vitals))
	}
	slices.Sort(values)
	return timing.Quantile(values, v.below)
}

// soakLimit is per hour; a soak of less is allowed as much in all.
func (o SoakOptions) soakLimit(name string) Limit {
	l := DefaultSoakLimits[name]
	if o.Budget != nil {
		if own, ok := o.Budget.Soak[name]; ok {
			l = own
		}
	}
	l.Value /= min(1, o.Duration.Hours())
	return l
}

// returned judges whether what the load opened is closed after it.
func returned(before, after Vitals, connections int) []Metric {
	var metrics []Metric
	for _, v := range vitals {
		if !v.back {
			continue
		}
		limit, left := float64(leftOver), float64(v.of(&after)-v.of(&before))
		if v.name == "descriptors" {
			limit += float64(connections)
		}
		m := Metric{Name: v.name + "_left", Unit: v.unit, Estimate: left, Low: left, High: left, Limit: &limit,
			Note: fmt.Sprintf("%d idle before, %d after", v.of(&before), v.of(&after))}
		m.judge()
		metrics = append(metrics, m)
	}
	return metrics
}

// lost adds to what grew, or may have grown, how many of them the end of the load left.
// The verdict stays: that none is left says that nothing is lost, and not that nothing
// grows for as long as there is load.
func lost(grown, left []Metric) {
	for _, l := range left {
		i := slices.IndexFunc(grown, func(m Metric) bool {
			return strings.TrimSuffix(m.Name, "_per_hour") == strings.TrimSuffix(l.Name, "_left")
		})
		if m := &grown[i]; m.Measured && m.Verdict != Pass {
			m.Note += fmt.Sprintf("; left after the load: %s", m.format(max(0, l.Estimate)))
		}
	}
}

// failed books why the process cannot be judged by its figures.
func (sr *SoakedReport) failed(err error) {
	if sr.Failure == "" {
		sr.Failure = err.Error()
	}
}

func (sr *SoakedReport) judge(o SoakOptions) error {
	var err error
	if sr.Metrics, err = growth(sr.Samples, o); err != nil {
		return fmt.Errorf("scenario %s: %w", sr.Name, err)
	}
	if sr.Failure == "" {
		left := returned(sr.Before, sr.After, sr.Connections)
		lost(sr.Metrics, left)
		sr.Metrics = append(sr.Metrics, left...)
	}
	if n := sr.Counts.silent; n > 0 {
		sr.failed(fmt.Errorf("%d of its ways answered nothing", n))
	}
	vs := make([]Verdict, len(sr.Metrics), len(sr.Metrics)+1)
	for i, m := range sr.Metrics {
		vs[i] = m.Verdict
	}
	if sr.Failure != "" {
		vs = append(vs, Fail)
	}
	sr.Verdict = worst(vs)
	return nil
}

func (r *SoakReport) judge() {
	vs := make([]Verdict, len(r.Scenarios))
	for i, s := range r.Scenarios {
		vs[i] = s.Verdict
	}
	r.Verdict = worst(vs)
}

// SoakReport is what Soak found.
type SoakReport struct {
	Verdict   Verdict        `json:"verdict"`
	Budget    string         `json:"budget,omitempty"` // its file
	OS        string         `json:"os"`
	Arch      string         `json:"arch"`
	CPUs      int            `json:"cpus"`
	Duration  time.Duration  `json:"duration_ns"` // of the load
	Level     float64        `json:"level"`       // of each trend's interval
	Seed      uint64         `json:"seed"`
	Scenarios []SoakedReport `json:"scenarios"`
}

// SoakedReport is what was found about one process.
type SoakedReport struct {
	Name        string  `json:"name"`
	Connections int     `json:"connections"`
	Rate        float64 `json:"rate"`           // requests per second that it was asked for
	CPU         float64 `json:"cpus,omitempty"` // CPUs that it used on average; 0 for unknown
	Verdict     Verdict `json:"verdict"`
	Failure     string  `json:"failure,omitempty"` // it died, did not end, or answered nothing
	Counts      Counts  `json:"requests"`
	// Metrics are trends per hour, with the windows' floors as Pairs: the least
	// reading, of RSS the lower quartile; and what was left over after the load.
	Metrics []Metric `json:"metrics"`
	Before  Vitals   `json:"idle_before"`
	After   Vitals   `json:"idle_after"`
	Samples []Sample `json:"samples"`
}

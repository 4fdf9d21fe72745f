package gate

import (
	"slices"
	"time"
)

// Verdict is the judgement of a metric, a scenario or a whole run.
type Verdict string

const (
	Pass         Verdict = "pass"         // the whole interval is within the limit
	Fail         Verdict = "fail"         // the whole interval is beyond it
	Inconclusive Verdict = "inconclusive" // the limit lies inside the interval, or there is no measurement
	NotJudged    Verdict = ""             // there is no limit
)

// ExitCode is understudy's for v: 0, 99 for a failed gate, 97 for inconclusive.
func ExitCode(v Verdict) int {
	switch v {
	case Fail:
		return 99
	case Inconclusive:
		return 97
	}
	return 0
}

// Unit is what a metric counts in.
type Unit string

const (
	UnitNanoseconds Unit = "ns"
	UnitRatio       Unit = "ratio" // proxied over direct
	UnitCount       Unit = "count"
)

// Metric is a figure with its interval and, where the budget has one, its limit.
type Metric struct {
	Name     string   `json:"name"`
	Unit     Unit     `json:"unit"`
	Estimate float64  `json:"estimate"` // the median over pairs
	Low      float64  `json:"low"`
	High     float64  `json:"high"`
	Limit    *float64 `json:"limit,omitempty"`
	AtLeast  bool     `json:"at_least,omitempty"` // the limit is the least allowed, not the most
	Verdict  Verdict  `json:"verdict,omitempty"`
	// Note says what a reader must know, such as why there is no measurement.
	Note     string `json:"note,omitempty"`
	Measured bool   `json:"measured"`
}

func (m *Metric) judge() {
	m.Measured = true
	if m.Limit == nil {
		return
	}
	within := func(v float64) bool {
		if m.AtLeast {
			return v >= *m.Limit
		}
		return v <= *m.Limit
	}
	switch low, high := within(m.Low), within(m.High); {
	case low && high:
		m.Verdict = Pass
	case !low && !high:
		m.Verdict = Fail
	default:
		m.Verdict = Inconclusive
	}
}

// unmeasured marks a metric that has no figure: a limit on it cannot be judged.
func (m *Metric) unmeasured() {
	if m.Limit != nil {
		m.Verdict = Inconclusive
	}
}

// Noise is the A/A check of one figure: direct over direct.
type Noise struct {
	Name     string  `json:"name"`
	Estimate float64 `json:"ratio"` // about 1 on a steady machine
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Spread   float64 `json:"spread"` // the median difference between two blocks, as a part of 1
}

// ScenarioReport is what was found about one scenario.
type ScenarioReport struct {
	Name       string   `json:"name"`
	Verdict    Verdict  `json:"verdict"`
	Pairs      int      `json:"pairs"`
	Requests   int      `json:"requests"`
	Errors     int      `json:"errors"` // of requests through the proxy
	FirstError string   `json:"first_error,omitempty"`
	Metrics    []Metric `json:"metrics"`
	Noise      []Noise  `json:"noise"`
	Warnings   []string `json:"warnings,omitempty"`
}

// Report is what Run found.
type Report struct {
	Verdict     Verdict          `json:"verdict"`
	OS          string           `json:"os"`
	Arch        string           `json:"arch"`
	CPUs        int              `json:"cpus"`
	Connections int              `json:"connections"`
	Block       time.Duration    `json:"block_ns"`
	Level       float64          `json:"level"` // as in Options
	Seed        uint64           `json:"seed"`
	Scenarios   []ScenarioReport `json:"scenarios"`
}

// worst is Fail before Inconclusive before Pass.
func worst(vs []Verdict) Verdict {
	for _, v := range []Verdict{Fail, Inconclusive} {
		if slices.Contains(vs, v) {
			return v
		}
	}
	return Pass
}

func (sr *ScenarioReport) judge() {
	vs := make([]Verdict, len(sr.Metrics))
	for i, m := range sr.Metrics {
		vs[i] = m.Verdict
	}
	sr.Verdict = worst(vs)
}

// helpedByMore reports whether more pairs could settle what is open: where a
// metric has a figure, or others have none for want of pairs.
func (sr *ScenarioReport) helpedByMore() bool {
	return slices.ContainsFunc(sr.Metrics, func(m Metric) bool {
		return m.Verdict == Inconclusive && (m.Measured || m.Name != "cpu_per_request")
	})
}

func (r *Report) judge() {
	vs := make([]Verdict, len(r.Scenarios))
	for i, s := range r.Scenarios {
		vs[i] = s.Verdict
	}
	r.Verdict = worst(vs)
}

package gate

import (
	"fmt"
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

// String is "not judged" for NotJudged.
func (v Verdict) String() string {
	if v == NotJudged {
		return "not judged"
	}
	return string(v)
}

// MarshalText writes String.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (v *Verdict) UnmarshalText(text []byte) error {
	if *v = Verdict(text); *v == Verdict(NotJudged.String()) {
		*v = NotJudged
	}
	return nil
}

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
	UnitRatio       Unit = "ratio" // proxied over direct, or over the baseline
	UnitCount       Unit = "count"
	UnitBytes       Unit = "bytes"
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
	Line     int      `json:"line,omitempty"`     // of the limit in the budget's file; 0 for unknown
	Verdict  Verdict  `json:"verdict,omitempty"`
	// Note says what a reader must know, such as why there is no measurement.
	Note     string `json:"note,omitempty"`
	Measured bool   `json:"measured"`
	// Pairs are the figures of the single pairs, in the order of measuring.
	Pairs []float64 `json:"pairs,omitempty"`
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
func (m *Metric) unmeasured(why string) {
	m.Note = "not measured: " + why
	if m.Limit != nil {
		m.Verdict = Inconclusive
	}
}

// Noise is the A/A check of one figure: one way over itself.
type Noise struct {
	Name     string  `json:"name"`
	Estimate float64 `json:"ratio"` // about 1 on a steady machine
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Spread   float64 `json:"spread"` // the median difference between two blocks, as a part of 1
}

// Curve is a latency at each of the quantiles At: the median over the blocks.
type Curve struct {
	At      []float64       `json:"at"`
	Against []time.Duration `json:"against_ns"`
	Proxied []time.Duration `json:"proxied_ns"`
}

// ScenarioReport is what was found about one scenario with one number of connections.
type ScenarioReport struct {
	Name        string   `json:"name"`
	Connections int      `json:"connections"`
	Verdict     Verdict  `json:"verdict"`
	Pairs       int      `json:"pairs"`
	Requests    int      `json:"requests"`
	Errors      int      `json:"errors"` // of requests through the proxy
	FirstError  string   `json:"first_error,omitempty"`
	Metrics     []Metric `json:"metrics"`
	Noise       []Noise  `json:"noise"`
	Latency     *Curve   `json:"latency,omitempty"`
	Warnings    []string `json:"warnings,omitempty"`
}

// Title is "reverse, 16 connections".
func (sr *ScenarioReport) Title() string {
	return fmt.Sprintf("%s, %s", sr.Name, connections(sr.Connections))
}

// Report is what Run found.
type Report struct {
	Verdict   Verdict          `json:"verdict"`
	Against   Against          `json:"against"`
	Budget    string           `json:"budget,omitempty"` // its file
	OS        string           `json:"os"`
	Arch      string           `json:"arch"`
	CPUs      int              `json:"cpus"`
	Block     time.Duration    `json:"block_ns"`
	Level     float64          `json:"level"` // as in Options
	Seed      uint64           `json:"seed"`
	Scenarios []ScenarioReport `json:"scenarios"`
	// Skipped are scenarios that this machine cannot measure.
	Skipped []Skipped `json:"skipped,omitempty"`
	// Unused are limits of the budget that met no measurement, "forward" or
	// "reverse, 64 connections".
	Unused []string `json:"unused_limits,omitempty"`
}

// Skipped is a scenario that was not measured, and why.
type Skipped struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// worst is Fail before Inconclusive before Pass before NotJudged: what has one
// limit and keeps to it passes.
func worst(vs []Verdict) Verdict {
	for _, v := range []Verdict{Fail, Inconclusive, Pass} {
		if slices.Contains(vs, v) {
			return v
		}
	}
	return NotJudged
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
		return m.Verdict == Inconclusive && !m.counted() && (m.Measured || m.ofPairs())
	})
}

// counted reports whether m stands apart from the pairs.
func (m *Metric) counted() bool { return m.Name == "allocs_per_request" || m.Name == "allocs_ratio" }

// ofPairs reports whether m needs nothing but answers.
func (m *Metric) ofPairs() bool {
	return slices.Contains([]string{"added_p50", "added_p99", "throughput_ratio", "p50_ratio"}, m.Name)
}

func (r *Report) judge() {
	vs := make([]Verdict, len(r.Scenarios))
	for i, s := range r.Scenarios {
		vs[i] = s.Verdict
	}
	r.Verdict = worst(vs)
}

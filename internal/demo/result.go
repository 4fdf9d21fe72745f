package demo

import (
	"math"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// Result is what a tour showed, in figures. Times are milliseconds.
type Result struct {
	OK         bool        `json:"ok"` // all checks held
	Seconds    float64     `json:"seconds"`
	Seed       uint64      `json:"seed"`
	Kept       string      `json:"kept,omitempty"`
	Record     Recorded    `json:"record"`
	Replay     Replayed    `json:"replay"`
	BrownOut   BrownOut    `json:"brown_out"`
	SameSeed   SameSeed    `json:"same_seed"`
	Link       Link        `json:"link"`
	Gate       Gate        `json:"gate"`
	Checks     []Check     `json:"checks"`
	Operations []Operation `json:"operations"`
}

// Check is something that was to be shown.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Open is set where the machine did not let it be told; OK then too.
	Open bool   `json:"open,omitempty"`
	Note string `json:"note"`
}

// Recorded is the recording.
type Recorded struct {
	Exchanges int     `json:"exchanges"` // in the cassette
	Calls     int     `json:"calls"`     // that the shop made
	Lost      int     `json:"lost"`
	Seconds   float64 `json:"seconds"`
	// OwnMicroseconds is understudy's own part of an exchange, on average.
	OwnMicroseconds float64 `json:"own_us"`
	// Volatile is what replay ignores since it changes by itself.
	Volatile []string `json:"volatile"`
	// Risky changes, too, but may select the answer: it still counts.
	Risky []string `json:"risky"`
}

// Replayed is the replay.
type Replayed struct {
	Hits   int `json:"hits"`
	Misses int `json:"misses"`
	// Checkout compares what customers waited for.
	Checkout struct {
		Recorded Quantiles `json:"recorded"`
		Replayed Quantiles `json:"replayed"`
	} `json:"checkout"`
	// Late is how far calls were from their own recorded time, in either direction.
	Late Quantiles `json:"off_by"`
	// Events is the same for each event of the streams.
	Events          Quantiles `json:"events_off_by"`
	OwnMicroseconds float64   `json:"own_us"`
}

// Operation compares the calls of one kind, as the shop saw them.
type Operation struct {
	Name      string    `json:"name"`
	Count     int       `json:"count"`
	Hits      int       `json:"hits"`
	Misses    int       `json:"misses"`
	Identical int       `json:"identical"` // status and body, byte for byte
	Recorded  Quantiles `json:"recorded"`
	Replayed  Quantiles `json:"replayed"`
	// OffBy is (replayed − recorded) / recorded.
	OffBy Quantiles `json:"off_by_ratio"`
}

// Quantiles are figures at 50, 95 and 99 %.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

// BrownOut is the replay bent by rules.
type BrownOut struct {
	ReloadMilliseconds float64 `json:"reload_ms"`
	Phases             []Phase `json:"phases"`
	Fired              []Fired `json:"fired"`
}

// Phase is a part of the brown-out's session, as customers saw their checkouts.
type Phase struct {
	Name      string  `json:"name"`
	Checkouts int     `json:"checkouts"`
	Failed    int     `json:"failed"`
	P95       float64 `json:"p95"`
}

// Fired says how often a rule struck.
type Fired struct {
	Name  string `json:"name"`
	Fired int    `json:"fired"`
}

// SameSeed compares the decisions of runs: "x" for each call that a rule
// struck, "." for the others.
type SameSeed struct {
	First  string `json:"first"`
	Second string `json:"second"` // with the same seed
	Other  string `json:"other"`  // with another one
}

// Link is the replay to a program behind a shaped link; zero where this machine could
// not make one.
type Link struct {
	Engine string    `json:"engine,omitempty"` // "netem" or "tun"
	Rows   []LinkRow `json:"rows,omitempty"`
	Calls  Quantiles `json:"calls"` // as the program saw them
}

// LinkRow is one figure of what was asked of the link and of what probes found.
type LinkRow struct {
	Direction string  `json:"direction"`
	What      string  `json:"what"` // as in the event link_verified
	Unit      string  `json:"unit"` // ms, share, bit/s
	Asked     float64 `json:"asked"`
	Achieved  float64 `json:"achieved"`
	Verdict   string  `json:"verdict"`
}

// Gate is the overhead's verdict.
type Gate struct {
	Verdict string  `json:"verdict"` // "pass", "fail", "inconclusive"; "" where it was not reached
	Figures []Gauge `json:"figures"`
}

// Gauge is one figure of the gate with its interval and limit.
type Gauge struct {
	Name     string   `json:"name"`
	Unit     string   `json:"unit"`
	Estimate float64  `json:"estimate"`
	Low      float64  `json:"low"`
	High     float64  `json:"high"`
	Limit    *float64 `json:"limit,omitempty"`
	AtLeast  bool     `json:"at_least,omitempty"`
	Verdict  string   `json:"verdict"`
	Measured bool     `json:"measured"`
}

func (r *Result) finish(took time.Duration) {
	r.Seconds = took.Seconds()
	r.OK = true
	for _, c := range r.Checks {
		r.OK = r.OK && c.OK
	}
}

func quantiles(samples []time.Duration) Quantiles {
	s := timing.Summarize(samples)
	return Quantiles{ms(s.P50), ms(s.P95), ms(s.P99)}
}

// offBy is the difference as a part of q; 0 where there is nothing to compare.
func (q Quantiles) offBy(to Quantiles) Quantiles {
	part := func(a, b float64) float64 {
		if a == 0 {
			return 0
		}
		return (b - a) / a
	}
	return Quantiles{part(q.P50, to.P50), part(q.P95, to.P95), part(q.P99, to.P99)}
}

// ms is a duration in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

// ExitCode is understudy's for r: 0 where all held, 99 else.
func (r *Result) ExitCode() int {
	if r.OK {
		return 0
	}
	return exitGateFailed
}

package recorder

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// times are a shard's quantiles of our own time and of how well delays were kept.
type times struct {
	own    timing.Bins
	stages [fixtures.Stages]timing.Bins
	errors timing.Bins // each ahead of itself by mostEarly
}

// mostEarly is how much earlier than asked a delay may end: the clock's law.
const mostEarly = 20 * time.Microsecond

func (t *times) add(e *Entry) {
	t.own.Add(e.Own)
	for i, d := range e.Stages {
		if d > 0 { // else the exchange did not come to it
			t.stages[i].Add(d)
		}
	}
	if e.Delayed {
		t.errors.Add(e.DelayError + mostEarly)
	}
}

func (t *times) join(o *times) {
	if o.own.Count() == 0 {
		return // nor has it anything else, and its memory may still be untouched
	}
	t.own.Join(&o.own)
	for i := range t.stages {
		t.stages[i].Join(&o.stages[i])
	}
	t.errors.Join(&o.errors)
}

// Spread says how durations are distributed: quantiles to within 2 %, the
// greatest exactly; all are 0 where there were none.
type Spread struct {
	Count uint64        `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`
}

func spreadOf(b *timing.Bins) Spread {
	return Spread{b.Count(), b.Quantile(.5), b.Quantile(.99), b.Max()}
}

// OwnSpread is our own time on the exchanges.
type OwnSpread struct {
	Spread
	// Stages are its parts, each over the exchanges that came to it, by their names;
	// those that none came to are left out.
	Stages map[string]Spread `json:"stages"`
}

func (t *times) ownSpread() OwnSpread {
	o := OwnSpread{spreadOf(&t.own), map[string]Spread{}}
	if o.Count == 0 {
		return o
	}
	for i := range t.stages {
		if s := spreadOf(&t.stages[i]); s.Count > 0 {
			o.Stages[fixtures.Stage(i).String()] = s
		}
	}
	return o
}

// delays is how much later than asked answers that were delayed could begin.
func (t *times) delays() Spread {
	s := spreadOf(&t.errors)
	if s.Count > 0 {
		s.P50, s.P99, s.Max = s.P50-mostEarly, s.P99-mostEarly, s.Max-mostEarly
	}
	return s
}

// text writes the lines of the report about own time and delays.
func (o *OwnSpread) text(t *tabwriter.Writer) {
	fmt.Fprintf(t, "own time\t\tp50 %s, p99 %s, greatest %s\n", rounded(o.P50), rounded(o.P99), rounded(o.Max))
	var stages []string
	for i := range fixtures.Stages {
		name := fixtures.Stage(i).String()
		if s, ok := o.Stages[name]; ok {
			stages = append(stages, fmt.Sprintf("%s %s/%s", name, rounded(s.P50), rounded(s.P99)))
		}
	}
	if len(stages) > 0 {
		fmt.Fprintf(t, "by stage\t\t%s (p50/p99)\n", strings.Join(stages, ", "))
	}
}

func (s *Spread) delaysText(t *tabwriter.Writer) {
	fmt.Fprintf(t, "delays\t%d\tlater than asked by p50 %s, p99 %s, at most %s\n", s.Count, rounded(s.P50), rounded(s.P99), rounded(s.Max))
}

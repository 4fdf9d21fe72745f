package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// gateBudget is generous: it holds on small and busy machines, and still tells
// a proxy that got in the way. Yours belongs in your repository.
const gateBudget = `scenarios:
  reverse:
    added_p50: 3ms
    cpu_per_request: 1ms
    throughput_ratio: 0.03
`

// Exit codes of understudy gate.
const (
	exitGateFailed   = 99
	exitInconclusive = 97
)

// gate measures what understudy itself adds, briefly.
func (t *tour) gate(ctx context.Context) error {
	t.say.heading("6 Verdict", "what understudy itself costs, measured against doing without")
	file, err := t.write("gate.yaml", gateBudget)
	if err != nil {
		return err
	}
	args := []string{"gate", "--scenario", "reverse", "--budget", file, "--pairs", "4", "--max-pairs", "8", "--block", t.pace.block, "--quiet"}
	t.say.command(args...)
	t.say.line("")
	out, code, err := t.command(ctx, args...)
	if err != nil {
		return err
	}
	if code != 0 && code != exitGateFailed && code != exitInconclusive {
		t.check("overhead", false, "understudy gate: exit %d", code)
		return nil
	}
	var report struct {
		Verdict   string
		Scenarios []struct {
			Pairs, Requests int
			Metrics         []Gauge
		}
	}
	if err := json.Unmarshal(out, &report); err != nil || len(report.Scenarios) != 1 {
		return fmt.Errorf("read the report of understudy gate: want one scenario, got %q (%v)", out, err)
	}
	s := &report.Scenarios[0]
	t.result.Gate = Gate{Verdict: report.Verdict, Figures: s.Metrics}
	t.say.line("  %d requests, direct and through a reverse proxy in turns, %d pairs:", s.Requests, s.Pairs)
	t.say.line("")
	rows := [][]string{{"figure", "median", "interval", "budget", "verdict"}}
	for _, g := range s.Metrics {
		if slices.Contains([]string{"added_p50", "added_p99", "throughput_ratio", "cpu_per_request"}, g.Name) {
			rows = append(rows, g.row())
		}
	}
	t.say.table(rows)
	t.say.line("")
	t.judge(code)
	return nil
}

// judge books the verdict. A machine too noisy to tell is no fault of the tour.
func (t *tour) judge(code int) {
	c := Check{Name: "overhead", OK: true, Note: "within the budget"}
	switch code {
	case exitGateFailed:
		c.OK, c.Note = false, "beyond the budget"
	case exitInconclusive:
		c.Open, c.Note = true, "inconclusive: this machine is too busy now to tell; not counted against the tour"
	}
	t.result.Checks = append(t.result.Checks, c)
	t.say.check(c)
}

func (g Gauge) row() []string {
	if !g.Measured {
		return []string{g.Name, "–", "–", g.limit(), g.Verdict}
	}
	return []string{g.Name, g.show(g.Estimate), g.show(g.Low) + " … " + g.show(g.High), g.limit(), g.Verdict}
}

func (g Gauge) limit() string {
	switch {
	case g.Limit == nil:
		return ""
	case g.AtLeast:
		return "≥ " + g.show(*g.Limit)
	}
	return "≤ " + g.show(*g.Limit)
}

func (g Gauge) show(v float64) string {
	if g.Unit == "ns" {
		return time.Duration(v).Round(time.Microsecond).String()
	}
	return fmt.Sprintf("%.2f", v)
}

package gate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// nothingJudged is said wherever a reader might take silence for a pass.
const nothingJudged = "nothing was judged: no limit applies"

// WriteText writes the report as a table for people.
func (r *Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "overhead: %s\n", r.setting())
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		fmt.Fprintf(&b, "\n%s: %s (%d pairs, %d requests)\n", s.Title(), s.Verdict, s.Pairs, s.Requests)
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "  metric\tmedian\tinterval\tbudget\tverdict")
		for _, m := range s.Metrics {
			fmt.Fprintln(t, "  "+strings.Join(m.row(), "\t"))
		}
		_ = t.Flush()
		for _, n := range s.Noise {
			fmt.Fprintf(&b, "  %s\n", n.text())
		}
		for _, warning := range s.Warnings {
			fmt.Fprintf(&b, "  warning: %s\n", warning)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", r.conclusion())
	// tabwriter pads the last, empty column.
	for line := range strings.Lines(b.String()) {
		if _, err := io.WriteString(w, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// setting is one line on how it was measured.
func (r *Report) setting() string {
	against := "direct against proxied"
	if r.Against == AgainstBaseline {
		against = "baseline against candidate"
	}
	return fmt.Sprintf("%s, %s blocks, %g %% confidence, %s/%s with %d CPUs", against, r.Block, 100*r.Level, r.OS, r.Arch, r.CPUs)
}

// conclusion is the last word, with what was left out.
func (r *Report) conclusion() string {
	text := "verdict: " + r.Verdict.String()
	if r.Verdict == NotJudged {
		text = nothingJudged
	}
	for _, s := range slices.Backward(r.Skipped) {
		text = "skipped: " + s.Name + ": " + s.Why + "\n" + text
	}
	if len(r.Unused) > 0 {
		text = "not measured, though the budget has limits for it: " + strings.Join(r.Unused, "; ") + "\n" + text
	}
	return text
}

func (n Noise) text() string {
	return fmt.Sprintf("A/A %s: ratio %.3f [%.3f, %.3f], spread %.1f %%", n.Name, n.Estimate, n.Low, n.High, 100*n.Spread)
}

// row is name, median, interval, budget, verdict.
func (m Metric) row() []string {
	row := []string{m.Name, m.format(m.Estimate), fmt.Sprintf("[%s, %s]", m.format(m.Low), m.format(m.High)), m.budget(), string(m.Verdict)}
	if !m.Measured {
		row[1], row[2] = "–", "–"
	}
	if m.Note != "" {
		row[4] = strings.TrimSpace(row[4] + " (" + m.Note + ")")
	}
	return row
}

// message is a missed or open limit in a sentence.
func (m Metric) message() string {
	if !m.Measured {
		return fmt.Sprintf("%s: want %s, %s", m.Name, m.budget(), m.Note)
	}
	return fmt.Sprintf("%s: want %s, got %s in [%s, %s]", m.Name, m.budget(), m.format(m.Estimate), m.format(m.Low), m.format(m.High))
}

func (m Metric) budget() string {
	switch {
	case m.Limit == nil:
		return ""
	case m.AtLeast:
		return "≥ " + m.format(*m.Limit)
	}
	return "≤ " + m.format(*m.Limit)
}

func (m Metric) format(v float64) string {
	switch m.Unit {
	case UnitNanoseconds:
		return time.Duration(v).Round(100 * time.Nanosecond).String()
	case UnitCount:
		if v == float64(int64(v)) {
			return fmt.Sprintf("%.0f", v)
		}
		return fmt.Sprintf("%.1f", v)
	case UnitBytes:
		return fmt.Sprintf("%.1fMiB", v/(1<<20))
	}
	return fmt.Sprintf("%.3f", v)
}

// WriteJSON writes the report as indented JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

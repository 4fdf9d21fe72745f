package gate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteText writes the report as a table for people.
func (r *SoakReport) WriteText(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "soak: %s at half load with faults, %g %% confidence, %s/%s with %d CPUs\n", r.Duration, 100*r.Level, r.OS, r.Arch, r.CPUs)
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		c := &s.Counts
		fmt.Fprintf(&b, "\n%s, %s: %s (%.0f requests a second, %.2f CPUs)\n", s.Name, connections(s.Connections), s.Verdict, s.Rate, s.CPU)
		fmt.Fprintf(&b, "  %d answered, %d refused, %d broken, %d given up, %d not sent in time; %d connections opened, %d not\n",
			c.Answered, c.Refused, c.Broken, c.GivenUp, c.Skipped, c.Connections, c.NotOpened)
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "  metric\testimate\tinterval\tallowed\tverdict")
		for _, m := range s.Metrics {
			fmt.Fprintln(t, "  "+strings.Join(m.row(), "\t"))
		}
		_ = t.Flush()
		if s.Failure != "" {
			fmt.Fprintf(&b, "  failed: %s\n", s.Failure)
		}
	}
	fmt.Fprintf(&b, "\n%sverdict: %s\n", r.grown(), r.Verdict)
	for line := range strings.Lines(b.String()) { // tabwriter pads the last column
		if _, err := io.WriteString(w, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// grown is a line for each finding.
func (r *SoakReport) grown() string {
	var b strings.Builder
	for _, s := range r.Scenarios {
		for _, m := range s.Metrics {
			switch m.Verdict {
			case Fail:
				fmt.Fprintf(&b, "grew: %s: %s\n", s.Name, m.finding())
			case Inconclusive:
				fmt.Fprintf(&b, "open: %s: %s\n", s.Name, m.finding())
			}
		}
		if s.Failure != "" {
			fmt.Fprintf(&b, "failed: %s: %s\n", s.Name, s.Failure)
		}
	}
	return b.String()
}

// finding is the message with its note, of which that of no figure consists.
func (m Metric) finding() string {
	if !m.Measured {
		return m.message()
	}
	return fmt.Sprintf("%s (%s)", m.message(), m.Note)
}

// WriteJSON writes the report with all samples as indented JSON.
func (r *SoakReport) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

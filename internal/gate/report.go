package gate

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteText writes the report as a table for people.
func (r *Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "overhead: %d connections, %s blocks, %g %% confidence, %s/%s with %d CPUs\n",
		r.Connections, r.Block, 100*r.Level, r.OS, r.Arch, r.CPUs)
	for _, s := range r.Scenarios {
		fmt.Fprintf(&b, "\n%s: %s (%d pairs, %d requests)\n", s.Name, s.Verdict, s.Pairs, s.Requests)
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "  metric\tmedian\tinterval\tbudget\tverdict")
		for _, m := range s.Metrics {
			fmt.Fprintln(t, "  "+strings.Join(m.row(), "\t"))
		}
		_ = t.Flush()
		for _, n := range s.Noise {
			fmt.Fprintf(&b, "  A/A %s: ratio %.3f [%.3f, %.3f], spread %.1f %%\n", n.Name, n.Estimate, n.Low, n.High, 100*n.Spread)
		}
		for _, warning := range s.Warnings {
			fmt.Fprintf(&b, "  warning: %s\n", warning)
		}
	}
	fmt.Fprintf(&b, "\nverdict: %s\n", r.Verdict)
	// tabwriter pads the last, empty column.
	for line := range strings.Lines(b.String()) {
		if _, err := io.WriteString(w, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

func (m Metric) row() []string {
	row := []string{m.Name, m.format(m.Estimate), fmt.Sprintf("[%s, %s]", m.format(m.Low), m.format(m.High)), "", string(m.Verdict)}
	if !m.Measured {
		row[1], row[2] = "–", "–"
	}
	row[3] = m.budget()
	if m.Note != "" {
		row[4] = strings.TrimSpace(row[4] + " (" + m.Note + ")")
	}
	return row
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
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// WriteJSON writes the report as indented JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitProblem `xml:"failure"`
	Error   *junitProblem `xml:"error"`
	Skipped *junitProblem `xml:"skipped"`
	Out     string        `xml:"system-out"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
}

// WriteJUnit writes the report as JUnit XML: a suite a scenario, a case a
// metric. A missed budget is a failure, an inconclusive one an error (it must not
// pass for a success), a metric without a limit is skipped.
func (r *Report) WriteJUnit(w io.Writer) error {
	all := junitSuites{Name: "understudy gate"}
	for _, s := range r.Scenarios {
		suite := junitSuite{Name: s.Name}
		for _, m := range s.Metrics {
			row := m.row()
			c := junitCase{Class: "gate." + s.Name, Name: m.Name, Out: strings.TrimSpace(row[1] + " " + row[2] + " " + m.Note)}
			message := fmt.Sprintf("%s: want %s, got %s in %s", m.Name, row[3], row[1], row[2])
			switch m.Verdict {
			case Fail:
				c.Failure = &junitProblem{message}
				suite.Failures++
			case Inconclusive:
				c.Error = &junitProblem{"inconclusive: " + message}
				suite.Errors++
			case NotJudged:
				c.Skipped = &junitProblem{"no limit in the budget"}
			}
			suite.Cases = append(suite.Cases, c)
			suite.Tests++
		}
		all.Suites = append(all.Suites, suite)
		all.Tests += suite.Tests
		all.Failures += suite.Failures
		all.Errors += suite.Errors
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

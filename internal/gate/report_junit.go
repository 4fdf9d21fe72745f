package gate

import (
	"encoding/xml"
	"io"
	"strings"
)

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
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		suite := junitSuite{Name: s.Title()}
		for _, m := range s.Metrics {
			row := m.row()
			c := junitCase{Class: "gate." + s.Title(), Name: m.Name, Out: strings.TrimSpace(row[1] + " " + row[2] + " " + m.Note)}
			switch m.Verdict {
			case Fail:
				c.Failure = &junitProblem{m.message()}
				suite.Failures++
			case Inconclusive:
				c.Error = &junitProblem{"inconclusive: " + m.message()}
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
	for _, s := range r.Skipped {
		all.Suites = append(all.Suites, junitSuite{Name: s.Name, Tests: 1,
			Cases: []junitCase{{Class: "gate." + s.Name, Name: "all", Skipped: &junitProblem{s.Why}}}})
		all.Tests++
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

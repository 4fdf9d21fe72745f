package verify

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what all rows come to.
type Report struct {
	Rows    []Row   `json:"rows"`
	Agrees  bool    `json:"agrees"`  // no row disagrees
	Probes  int     `json:"probes"`  // packets that were sent
	Seconds float64 `json:"seconds"` // that it took
	Rounds  int     `json:"rounds"`  // 2 where the first disagreed
}

// Sum is the report of rows.
func Sum(rows []Row, probes, rounds int, took time.Duration) Report {
	r := Report{Rows: rows, Agrees: true, Probes: probes, Rounds: rounds, Seconds: took.Seconds()}
	for _, row := range rows {
		if row.Verdict == Disagree {
			r.Agrees = false
		}
	}
	return r
}

// Text is the report as a table for people, with a line's end after each row.
func (r Report) Text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  \t\tasked\tachieved\tinterval")
	class := ""
	for _, row := range r.Rows {
		if row.Class != class {
			class = row.Class
			_ = w.Flush() // its name is no column
			fmt.Fprintf(&b, "  class %s\n", class)
		}
		verdict := string(row.Verdict)
		if row.Why != "" {
			verdict += ": " + row.Why
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s to %s\t%s\n", row.Direction, strings.ReplaceAll(row.What, "_", " "),
			row.show(row.Asked), row.show(row.Achieved), row.show(row.Low), row.show(row.High), verdict)
	}
	_ = w.Flush() // a Builder takes all
	return b.String()
}

func (r Row) show(v float64) string {
	switch r.Unit {
	case "share":
		return fmt.Sprintf("%.2f%%", 100*v)
	case "bit/s":
		for _, u := range []struct {
			size float64
			name string
		}{{1e9, "gbit"}, {1e6, "mbit"}, {1e3, "kbit"}} {
			if v >= u.size {
				return fmt.Sprintf("%.4g%s", v/u.size, u.name)
			}
		}
		return fmt.Sprintf("%.0fbit", v)
	}
	return fmt.Sprintf("%.2f%s", v, r.Unit)
}

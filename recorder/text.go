package recorder

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// textRows bounds each table of the report, so that all of it fits on a screen.
const textRows = 8

// Text writes the report that stands at the end of a run: one screen.
func (s *Snapshot) Text(w io.Writer) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	c, x, r := s.Connections, s.Exchanges, s.Recording
	fmt.Fprintf(t, "connections\t%d\t%d captured, %d passed, %d refused, %d dropped, %d open\n",
		c.Opened, c.Captured, c.Passed, c.Refused, c.Dropped, c.Open)
	if n := s.Names; n.Asked > 0 {
		fmt.Fprintf(t, "names\t%d\t", n.Asked)
		if len(n.Refused) > 0 {
			fmt.Fprintf(t, "refused by rules: %s; ", shares(n.Refused))
		}
		fmt.Fprintf(t, "%d delayed", n.Delayed)
		if n.Delayed > 0 {
			fmt.Fprintf(t, " by %s on average", each(n.Injected, n.Delayed))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintf(t, "exchanges\t%d\t%s\n", x.Count, shares(x.Outcomes))
	if x.Count > 0 {
		fmt.Fprintf(t, "answered by\t\t%s\n", shares(x.Sources))
		fmt.Fprintf(t, "mean wait\t\tupstream %s, injected %s, own %s\n",
			each(x.Upstream, x.Count), each(x.Injected, x.Count), each(x.Own, x.Count))
		s.Own.text(t)
	}
	if s.Delays.Count > 0 {
		s.Delays.delaysText(t)
	}
	if r.Begun > 0 {
		fmt.Fprintf(t, "recorded\t%d\t", r.Recorded)
		var lost uint64
		for _, n := range r.Lost {
			lost += n
		}
		fmt.Fprintf(t, "%d lost", lost)
		if lost > 0 {
			fmt.Fprintf(t, " (%s)", shares(r.Lost))
		}
		if r.Pending > 0 {
			fmt.Fprintf(t, ", %d pending", r.Pending)
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()

	busy := slices.DeleteFunc(slices.Clone(s.Hosts), func(h HostRow) bool { return h.Exchanges.Count == 0 })
	section(&b, "host\tprotocol\texchanges\tnot complete\tupstream\tinjected\town", busy, func(h HostRow) string {
		e := h.Exchanges
		return fmt.Sprintf("%s\t%s\t%d\t%d\t%s\t%s\t%s", named(h.Host), named(h.Protocol), e.Count, e.Count-e.Outcomes["complete"],
			each(e.Upstream, e.Count), each(e.Injected, e.Count), each(e.Own, e.Count))
	})
	section(&b, "rule\tfired", s.Rules, func(r RuleRow) string { return fmt.Sprintf("%s\t%d", r.Name, r.Fired) })
	section(&b, "not captured\tprotocol\tconnections\twhy", s.Away, func(a AwayRow) string {
		why := string(a.Fate)
		if a.Reason != "" {
			why += ": " + a.Reason
		}
		return fmt.Sprintf("%s\t%s\t%d\t%s", named(a.Host), named(a.Protocol), a.Count, why)
	})
	_, err := w.Write(b.Bytes())
	return err
}

// section writes a table after an empty line, or nothing where it has no rows.
func section[R any](b *bytes.Buffer, head string, rows []R, line func(R) string) {
	if len(rows) == 0 {
		return
	}
	b.WriteByte('\n')
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, head)
	for _, r := range rows[:min(len(rows), textRows)] {
		fmt.Fprintln(t, printable(line(r)))
	}
	_ = t.Flush()
	if more := len(rows) - textRows; more > 0 {
		fmt.Fprintf(b, "and %d more\n", more)
	}
}

// shares lists what there is of each kind, the most first.
func shares[K ~string](counts map[K]uint64) string {
	if len(counts) == 0 {
		return "none"
	}
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b K) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(string(a), string(b)))
	})
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = fmt.Sprintf("%d %s", counts[k], k)
	}
	return strings.Join(parts, ", ")
}

// each is the mean.
func each(sum time.Duration, n uint64) string {
	if n == 0 {
		return "-"
	}
	return rounded(sum / time.Duration(n))
}

// rounded tells d to three digits or so.
func rounded(d time.Duration) string {
	switch size := d.Abs(); {
	case size >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case size >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Nanosecond).String()
}

func named(s string) string { return cmp.Or(s, "-") }

// printable keeps hosts and reasons that came over the wire from steering the
// terminal; tabs are the table's own.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
}

package main

import (
	"fmt"
	"strings"
	"time"
)

// report is a whole run.
type report struct {
	Machine  string
	Versions []string
	Absent   []string
	Tables   []*table
	Options  options
	At       time.Time
}

// command is what repeats the run.
func (r report) command() string {
	o, flags := r.Options, []string{}
	if o.quick {
		flags = append(flags, "-quick")
	}
	flags = append(flags, fmt.Sprintf("-rounds %d -seconds %d -threads %d -stubs %d", o.rounds, o.seconds, o.threads, o.stubs))
	if s := o.only.String(); s != "" {
		flags = append(flags, fmt.Sprintf("-only '%s'", s))
	}
	if s := o.subjects.String(); s != "" {
		flags = append(flags, fmt.Sprintf("-subjects '%s'", s))
	}
	if o.doc != "" {
		flags = append(flags, "-doc "+o.doc)
	}
	return `make perf-peers PEERS_FLAGS="` + strings.Join(flags, " ") + `"`
}

func (r report) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "\nMeasured on %s, %s.\n\n", r.At.UTC().Format("2 January 2006"), r.Machine)
	fmt.Fprintf(&out, "    %s\n\n", r.command())
	fmt.Fprintf(&out, "Versions: %s.\n\n", strings.Join(r.Versions, " · "))
	for _, a := range r.Absent {
		fmt.Fprintf(&out, "**Skipped**: %s.\n\n", a)
	}
	if v := verdicts(r.Tables); v != "" {
		fmt.Fprintf(&out, "%s\n", v)
	}
	for _, t := range r.Tables {
		t.markdown(&out)
	}
	return out.String()
}

func (t *table) markdown(out *strings.Builder) {
	fmt.Fprintf(out, "### %s\n\n", t.group.title)
	if t.group.note != "" {
		fmt.Fprintf(out, "%s\n\n", t.group.note)
	}
	if t.group.asked > 0 {
		t.delays(out)
	} else {
		t.costs(out)
	}
	for _, n := range t.notes {
		fmt.Fprintf(out, "- %s\n", strings.ReplaceAll(n, "\n", " "))
	}
	if len(t.notes) > 0 {
		fmt.Fprintln(out)
	}
}

func (t *table) costs(out *strings.Builder) {
	bare := t.bare()
	added, rule := "", ""
	if bare != "" {
		added, rule = " added p50 µs |", "--:|"
	}
	fmt.Fprintf(out, "| connections | | CPU µs/request | × %[1]s (min–max) | requests/s | × %[1]s (min–max) | p50 µs |%s p99 µs | RSS MiB |\n", t.group.ref, added)
	fmt.Fprintf(out, "|--:|-|--:|--:|--:|--:|--:|%s--:|--:|\n", rule)
	for _, n := range t.group.conns {
		ref, direct := t.find(t.group.ref, n), t.find(bare, n)
		for _, c := range t.cells {
			if c.conns != n {
				continue
			}
			extra := ""
			if bare != "" {
				extra = " " + c.against(direct, difference(p50Of)).print(0) + " |"
			}
			fmt.Fprintf(out, "| %d | %s | %s | %s | %s | %s | %s |%s %s | %s |\n", n, c.subject,
				c.over(cpuOf).print(1), c.against(ref, ratio(cpuOf)).wide(2), c.over(rpsOf).print(0), c.against(ref, ratio(rpsOf)).wide(2),
				c.over(p50Of).print(0), extra, c.over(p99Of).print(0), c.over(rssOf).print(0))
		}
	}
	fmt.Fprintln(out)
}

func (t *table) delays(out *strings.Builder) {
	fmt.Fprintf(out, "%s\n\n", socketNote)
	fmt.Fprintf(out, "| connections | | p50 error µs (min–max) | p99 error µs (min–max) | at the socket: p50 error µs (min–max) | p99 error µs (min–max) | then read: p50 error µs | p99 error µs | CPU µs/request | RSS MiB |\n|--:|-|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	answers, unstamped := 0, 0
	for _, n := range t.group.conns {
		for _, c := range t.cells {
			if c.conns != n {
				continue
			}
			asked := float64(t.group.delayOf(c.subject).Microseconds())
			beyond := func(f figure) figure { return func(s sample) float64 { return f(s) - asked } }
			fmt.Fprintf(out, "| %d | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", n, c.subject, c.over(beyond(p50Of)).wide(0),
				c.over(beyond(p99Of)).wide(0), c.over(beyond(socket50Of)).wide(0), c.over(beyond(socket99Of)).wide(0),
				c.over(beyond(read50Of)).print(0), c.over(beyond(read99Of)).print(0), c.over(cpuOf).print(1), c.over(rssOf).print(0))
			for _, s := range c.samples {
				answers, unstamped = answers+s.stamps.requests, unstamped+s.stamps.unstamped
			}
		}
	}
	fmt.Fprintf(out, "\nOf the second client's %s answers %s had no stamp; they are left out at the socket.\n\n", thousands(fmt.Sprint(answers)), thousands(fmt.Sprint(unstamped)))
}

// socketNote explains the columns that are not wrk's.
const socketNote = "The first two errors are wrk's. *At the socket* is from a client of this tool's that asks in the same way just after wrk: " +
	"the kernel's stamp of the answer's first bytes, less the moment before the request's send, so without the client's own wake-up; *then read* is what that client itself saw of the same answers, and judged beside wrk's."

// bare is the name of the subject without anything in between, if any.
func (t *table) bare() string {
	for _, s := range t.group.subjects {
		if s.bare {
			return s.name
		}
	}
	return ""
}

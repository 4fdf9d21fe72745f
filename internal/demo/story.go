package demo

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// story writes what a person reads. A nil w is silence.
type story struct{ w io.Writer }

func (s story) line(format string, args ...any) {
	if s.w == nil {
		return
	}
	_, _ = fmt.Fprintf(s.w, format+"\n", args...)
}

func (s story) heading(title, what string) {
	s.line("\n── %s ─ %s %s", title, what, strings.Repeat("─", max(0, 84-len([]rune(title))-len([]rune(what)))))
	s.line("")
}

// command shows a command line as a person could type it.
func (s story) command(args ...string) {
	line := "  $ understudy"
	width := len(line)
	for _, a := range args {
		a = quote(a)
		// A long line goes on at the next flag.
		if strings.HasPrefix(a, "-") && width > 60 {
			line += " \\\n     "
			width = 5
		}
		line += " " + a
		width += 1 + len(a)
	}
	s.line("%s", line)
}

func (s story) check(c Check) {
	mark := "✓"
	switch {
	case !c.OK:
		mark = "✗"
	case c.Open:
		mark = "?"
	}
	s.line("  %s %s: %s", mark, c.Name, c.Note)
}

// table writes rows with aligned columns.
func (s story) table(rows [][]string) {
	if s.w == nil {
		return
	}
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		_, _ = fmt.Fprintln(t, "  "+strings.Join(r, "\t"))
	}
	_ = t.Flush() // a Builder takes all
	for l := range strings.Lines(b.String()) {
		s.line("%s", strings.TrimRight(l, " \n"))
	}
}

// quote makes an argument fit for a shell.
func quote(a string) string {
	if a != "" && !strings.ContainsAny(a, " \t\n'\"\\$&|;<>(){}[]*?!#~`") {
		return a
	}
	return "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
}

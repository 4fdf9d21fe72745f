package gate

import (
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes the report for a pull request or a job's summary.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	verdict := r.Verdict.String()
	if r.Verdict == NotJudged {
		verdict = nothingJudged
	}
	fmt.Fprintf(&b, "## understudy gate: %s\n\n%s\n", verdict, escapeMarkdown(r.setting()))
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		fmt.Fprintf(&b, "\n### %s: %s\n\n| metric | median | interval | budget | verdict |\n|-|-:|-|-:|-|\n", escapeMarkdown(s.Title()), s.Verdict)
		for _, m := range s.Metrics {
			row := m.row()
			for j := range row {
				row[j] = escapeMarkdown(row[j])
			}
			if m.Verdict == Fail || m.Verdict == Inconclusive {
				row[4] = "**" + row[4] + "**"
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
		var notes []string
		for _, n := range s.Noise {
			notes = append(notes, n.text())
		}
		notes = append(notes, s.Warnings...)
		fmt.Fprintf(&b, "\n<details><summary>%d pairs, %d requests; noise</summary>\n\n", s.Pairs, s.Requests)
		for _, n := range notes {
			fmt.Fprintf(&b, "- %s\n", escapeMarkdown(n))
		}
		b.WriteString("\n</details>\n")
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "\n%s was skipped: %s\n", escapeMarkdown(s.Name), escapeMarkdown(s.Why))
	}
	if len(r.Unused) > 0 {
		fmt.Fprintf(&b, "\nNot measured, though the budget has limits for it: %s\n", escapeMarkdown(strings.Join(r.Unused, "; ")))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

var markdownEscapes = strings.NewReplacer(`\`, `\\`, "|", `\|`, "_", `\_`, "*", `\*`, "`", "\\`", "<", "&lt;", ">", "&gt;", "[", `\[`, "]", `\]`, "\n", " ")

func escapeMarkdown(s string) string { return markdownEscapes.Replace(s) }

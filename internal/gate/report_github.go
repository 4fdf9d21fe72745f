package gate

import (
	"fmt"
	"io"
	"strings"
)

// WriteGitHub writes an annotation for each limit that was missed (error) or
// could not be judged (warning), at its line of the budget, as GitHub's workflow
// commands have it. A run that judged nothing gets a notice.
// Source: docs.github.com, "Workflow commands for GitHub Actions".
func (r *Report) WriteGitHub(w io.Writer) error {
	var b strings.Builder
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		for _, m := range s.Metrics {
			level, text := "error", m.message()
			switch m.Verdict {
			case Inconclusive:
				level, text = "warning", "inconclusive: "+text
			case Fail:
			default:
				continue
			}
			properties := ""
			if r.Budget != "" && m.Line > 0 {
				properties = fmt.Sprintf("file=%s,line=%d,", escapeProperty(r.Budget), m.Line)
			}
			fmt.Fprintf(&b, "::%s %stitle=%s::%s\n", level, properties, escapeProperty("understudy gate: "+s.Title()), escapeMessage(text))
		}
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "::notice title=%s::%s\n", escapeProperty("understudy gate: "+s.Name+" skipped"), escapeMessage(s.Why))
	}
	if r.Verdict == NotJudged {
		fmt.Fprintf(&b, "::notice title=understudy gate::%s\n", escapeMessage(nothingJudged))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

var (
	messageEscapes  = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	propertyEscapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func escapeMessage(s string) string  { return messageEscapes.Replace(s) }
func escapeProperty(s string) string { return propertyEscapes.Replace(s) }

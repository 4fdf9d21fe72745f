package gate

import (
	_ "embed" // the page
	"html/template"
	"io"
	"sync"
)

//go:embed report.html
var pageText string

var page = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"curve": drawCurve, "strip": drawStrip, "word": Verdict.String,
		"class": func(v Verdict) string {
			if v == NotJudged {
				return "none"
			}
			return string(v)
		},
		"cells": func(m Metric) []string { return m.row()[1:4] },
		"noise": Noise.text,
	}).Parse(pageText))
})

// WriteHTML writes the report as one page that loads nothing: tables, each
// pair's figures with interval and limit, and the latencies' distributions.
func (r *Report) WriteHTML(w io.Writer) error {
	return page().Execute(w, struct {
		*Report
		Setting, Conclusion string
	}{r, r.setting(), r.conclusion()})
}

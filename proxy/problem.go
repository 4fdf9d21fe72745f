package proxy

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures"
)

// MissField is the header field of an answer that tells of a miss, in one line.
const MissField = "Understudy-Miss"

// problem is an answer of our own: RFC 9457 details, and a field that no
// upstream sends, so that a test can tell our errors from the dependency's.
func problem(status int, title, detail string, more map[string]any) *fixtures.Fault {
	doc := map[string]any{"type": "about:blank", "title": title, "status": status, "detail": detail, "from": "understudy"}
	for k, v := range more {
		doc[k] = v
	}
	// Maps of strings, numbers and our own structs always encode.
	body, _ := json.MarshalIndent(doc, "", "  ")
	return &fixtures.Fault{
		Kind: fixtures.FaultStatus, Status: status, Body: append(body, '\n'),
		Header: fixtures.Header{
			{Name: "Content-Type", Value: "application/problem+json"},
			{Name: "Understudy-Error", Value: oneLine(title)},
		},
	}
}

// missProblem tells of a miss: the nearest candidate and every difference.
// shown is what of it may stand in a header field.
func missProblem(m, shown *fixtures.MissError) *fixtures.Fault {
	more := map[string]any{"method": m.Method, "url": m.URL}
	if m.Nearest != "" {
		more["nearest"] = m.Nearest
		more["differences"] = m.Differences
	}
	f := problem(http.StatusBadGateway, "nothing recorded or stubbed for this request", m.Error(), more)
	f.Header.Add(MissField, oneLine(shown.Error()))
	return f
}

// oneLine makes s fit for a header field: printable ASCII, 512 bytes at most.
func oneLine(s string) string {
	s = strings.ReplaceAll(s, "…", "...") // what is shortened ends so
	b := make([]byte, 0, min(len(s), 512))
	for i := 0; i < len(s) && len(b) < cap(b); i++ {
		c := s[i]
		if c < ' ' || c > '~' {
			c = '?'
		}
		b = append(b, c)
	}
	return string(b)
}

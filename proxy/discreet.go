package proxy

import (
	"slices"
	"strings"
	"sync"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

// secrets finds what is redacted by default. Its salt lives as long as the process.
var secrets = sync.OnceValue(func() *redact.Redactor {
	r, err := redact.New(redact.Config{}, redact.NewSalt())
	if err != nil {
		return nil // no configuration, nothing to be wrong with
	}
	return r
})

// discreet is a miss as logs and header fields may tell it: without the
// request's secrets. The client that sent them gets the whole of it as body.
func discreet(r *fixtures.Request, m *fixtures.MissError) *fixtures.MissError {
	x := fixtures.Exchange{Request: fixtures.Request{
		Scheme: r.Scheme, Host: r.Host, Target: r.Target, Header: r.Header.Clone(),
		Body: fixtures.Body{Bytes: slices.Clone(r.Body.Bytes), Size: int64(len(r.Body.Bytes))},
	}}
	if s := secrets(); s != nil {
		s.Exchange(&x)
	}
	if len(x.Redacted) == 0 {
		return m
	}
	shown := *m
	if m.URL == r.URL() {
		shown.URL = x.Request.URL()
	}
	shown.Differences = slices.Clone(m.Differences)
	for i, d := range shown.Differences {
		if secretField(d.Field, x.Redacted) {
			shown.Differences[i].Want, shown.Differences[i].Got = "(secret)", "(secret)"
		}
	}
	return &shown
}

// secretField reports whether a difference's field is among those redacted,
// such as "request.query.token". A body with a secret in it is not shown at all.
func secretField(field string, redacted []string) bool {
	kind, _, _ := strings.Cut(field, ".")
	for _, what := range redacted {
		switch {
		case strings.EqualFold("request."+field, what),
			(kind == "body" || kind == "form") && strings.HasPrefix(what, "request.body"),
			kind == "cookie" && strings.EqualFold(what, "request.header.Cookie"):
			return true
		}
	}
	return false
}

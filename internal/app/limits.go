package app

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/match"
	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/timing/ratelimit"
)

// refusal reports whether an answer says that too many requests came: it tells nothing of
// what serves those that are let in.
func refusal(x *fixtures.Exchange) bool {
	return x.Response.Status == 429 || x.Response.Status == 503 && x.Response.Header.Has("Retry-After")
}

// FittedLimit is a rate limit as it is written, and what it makes of the recording.
type FittedLimit struct {
	Operations []string `json:"operations"`
	Limit      string   `json:"limit"` // for people
	Rate       float64  `json:"rate_per_second,omitempty"`
	Burst      float64  `json:"burst,omitempty"`
	Requests   int      `json:"requests,omitempty"`
	Window     Seconds  `json:"window_seconds,omitempty"`
	Quality    string   `json:"quality"`
	Why        string   `json:"why,omitempty"`
	Score      float64  `json:"score"`
	Identified float64  `json:"identified"`
	Exchanges  int      `json:"exchanges"`
	Refused    int      `json:"refused"`
}

// fitLimits tells the limits of the operations that had refusals, host by host.
func fitLimits(c *cassette.Cassette, v *visits) ([]FittedLimit, error) {
	if len(v.refused) == 0 {
		return nil, nil
	}
	byName := map[string][]ratelimit.Request{}
	var names, hosts []string // in order of their first exchange
	var base time.Time
	for x, err := range c.Exchanges() {
		if err != nil {
			return nil, BadInput(err)
		}
		name := operationOf(&x.Request)
		if !answered(x) || v.refused[name] == 0 {
			continue
		}
		if base.IsZero() {
			base = x.At
		}
		if byName[name] == nil {
			names, hosts = append(names, name), append(hosts, x.Request.Scheme+"://"+x.Request.Host)
		}
		q := ratelimit.Request{At: x.At.Sub(base) + x.Times.RequestRead, Refused: refusal(x), Told: toldBy(x)}
		if x.Times.UpstreamSent > 0 {
			q.At = x.At.Sub(base) + x.Times.UpstreamSent // later, where a rule held it
		}
		byName[name] = append(byName[name], q)
	}
	var out []FittedLimit
	for _, host := range distinct(hosts) {
		var operations []string
		var all []ratelimit.Request
		var each []ratelimit.Result
		for i, name := range names {
			if hosts[i] == host {
				operations = append(operations, name)
				all = append(all, byName[name]...)
				each = append(each, ratelimit.Fit(byName[name]))
			}
		}
		if len(each) > 1 {
			if r := ratelimit.Fit(all); ratelimit.Together(r, each) {
				out = append(out, fittedLimit(operations, r))
				continue
			}
		}
		for i := range each {
			out = append(out, fittedLimit(operations[i:i+1], each[i]))
		}
	}
	return out, nil
}

func fittedLimit(operations []string, r ratelimit.Result) FittedLimit {
	l := FittedLimit{
		Operations: operations, Rate: r.Limit.Rate, Burst: r.Limit.Burst, Requests: r.Limit.Requests, Window: Seconds(r.Limit.Window),
		Quality: string(r.Quality), Why: r.Why, Score: finite(r.Off), Identified: finite(r.Identified),
		Exchanges: r.Accepted + r.Refused, Refused: r.Refused,
	}
	m := l.limit()
	l.Limit = describeLimit(&m)
	return l
}

// limit is what stands in the manifest.
func (f *FittedLimit) limit() cassette.Limit {
	return cassette.Limit{
		Operations: f.Operations, Rate: f.Rate, Burst: f.Burst, Requests: f.Requests, Window: cassette.Duration(f.Window),
		Quality: f.Quality, Why: f.Why, Score: rounded(f.Score), Exchanges: f.Exchanges, Refused: f.Refused,
	}
}

// describeLimit tells people how a limit refuses.
func describeLimit(l *cassette.Limit) string {
	if l.Limit() == (ratelimit.Limit{}) {
		return "refused as recorded"
	}
	return l.Limit().String()
}

// toldBy is what an answer's headers say of a fixed window: X-RateLimit-*, X-Rate-Limit-*
// and the IETF's drafts, draft-ietf-httpapi-ratelimit-headers, of which each has other ones.
func toldBy(x *fixtures.Exchange) ratelimit.Told {
	h := x.Response.Header
	value := func(name string) string {
		for _, prefix := range []string{"X-RateLimit-", "X-Rate-Limit-", "RateLimit-"} {
			if s := h.Get(prefix + name); s != "" {
				return s
			}
		}
		return ""
	}
	short, limit, policy := h.Get("RateLimit"), value("Limit"), h.Get("RateLimit-Policy")
	var t ratelimit.Told
	for _, s := range []string{limit, parameter(short, "limit"), parameter(policy, "q"), policy} {
		if n, ok := numberAt(s); ok && n >= 1 && n <= 1e9 {
			t.Requests = int(n)
			break
		}
	}
	for _, s := range []string{parameter(policy, "w"), parameter(limit, "w")} {
		if n, ok := numberAt(s); ok && n > 0 && n <= ratelimit.MaxWindow.Seconds() {
			t.Window = time.Duration(n * 1e9)
			break
		}
	}
	for _, s := range []string{value("Reset"), parameter(short, "reset"), parameter(short, "t"), h.Get("Retry-After")} {
		n, ok := numberAt(s)
		if !ok {
			continue
		}
		if n > 1e11 { // a moment in milliseconds
			n /= 1e3
		}
		if n > 1e9 { // a moment, by the server's clock where that is told
			now := x.At
			if date, err := time.Parse(time.RFC1123, h.Get("Date")); err == nil {
				now = date
			}
			n -= float64(now.UnixNano()) / 1e9
		}
		if n > 0 && n <= ratelimit.MaxWindow.Seconds() {
			t.Left = time.Duration(n * 1e9)
			break
		}
	}
	return t
}

// parameter returns a parameter's value in a list of them.
func parameter(list, name string) string {
	for _, part := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ';' || r == ' ' }) {
		if key, value, ok := strings.Cut(part, "="); ok && strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

// numberAt returns the number that a text begins with.
func numberAt(s string) (float64, bool) {
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		end = len(s)
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	return n, err == nil
}

// limits are a cassette's rate limits at work. The zero value has none.
type limits struct {
	number   map[string]int32 // of an operation: its match.Filing.Limit; nil where none are played
	limiters []match.Limiter  // by number less 1
	entry    []int            // in entries, likewise
	entries  []limitEntry
	live     []*limiter // of the entries
}

// limitEntry is a limit of the manifest, and what the cassette has of it.
type limitEntry struct {
	*cassette.Limit
	seen    int
	refused map[string]int // by operation
}

// limiter keeps a limit by the clock.
type limiter struct {
	live  *ratelimit.Live
	start time.Time
	speed float64
}

// Accept implements match.Limiter.
func (l *limiter) Accept() bool {
	return l.live.Accept(time.Duration(float64(time.Since(l.start)) * l.speed))
}

// makeLimits sets a cassette's limits up where they are to be played.
func (p *parts) makeLimits(c *cassette.Cassette) limits {
	if p.c.Timing != config.TimingModel {
		return limits{}
	}
	l := limits{number: map[string]int32{}}
	for i := range c.Manifest.Limits {
		of := &c.Manifest.Limits[i]
		p.tellLimit(of)
		if of.Limit() == (ratelimit.Limit{}) {
			continue
		}
		one := &limiter{live: ratelimit.NewLive(of.Limit()), start: time.Now(), speed: p.c.Speed}
		l.live = append(l.live, one)
		l.entries = append(l.entries, limitEntry{of, 0, map[string]int{}})
		for _, name := range of.Operations {
			l.limiters, l.entry = append(l.limiters, one), append(l.entry, len(l.entries)-1)
			l.number[name] = int32(len(l.limiters))
		}
	}
	return l
}

// of is an exchange's match.Filing, but for its model. What no limit refused is no
// refusal of a limit's, but has no model either.
func (l *limits) of(x *fixtures.Exchange) match.Filing {
	if l.number == nil {
		return match.Filing{}
	}
	name := operationOf(&x.Request)
	f := match.Filing{Limit: l.number[name], Refused: refusal(x)}
	if f.Limit == 0 || !answered(x) {
		return f
	}
	e := &l.entries[l.entry[f.Limit-1]]
	e.seen++
	if f.Refused {
		e.refused[name]++
	}
	return f
}

// checkLimits compares the limits with what of was told. An error stands for bad input.
func (p *parts) checkLimits(c *cassette.Cassette, l *limits, onlyRefused int) error {
	for _, e := range l.entries {
		for _, name := range e.Operations {
			if e.refused[name] == 0 {
				return BadInput(&place.Error{File: filepath.Join(c.Path, cassette.ManifestFile),
					Msg:  fmt.Sprintf("limits: want operations that were recorded being refused (429, or 503 with Retry-After), found no such answer to %q", name),
					Hint: "without one there is nothing to refuse with: take the operation out, or record it above its limit and fit anew: understudy cassette fit " + c.Path})
			}
		}
		if e.seen != e.Exchanges {
			p.log.Warn("rate limit: the cassette has changed since it was fitted", zap.Int("fitted_to", e.Exchanges), zap.Int("has", e.seen),
				zap.String("hint", "understudy cassette fit "+c.Path))
		}
	}
	if onlyRefused > 0 {
		p.log.Warn("rate limit: requests that were recorded only as refused are refused always", zap.Int("requests", onlyRefused),
			zap.String("hint", "record them under the limit, too"))
	}
	return nil
}

// tellLimit says what is in force.
func (p *parts) tellLimit(l *cassette.Limit) {
	fields := []zap.Field{zap.String("operations", someOf(l.Operations)), zap.String("limit", describeLimit(l))}
	if l.Quality != string(ratelimit.Good) && l.Why != "" {
		p.log.Warn("rate limit", append(fields, zap.String("why", l.Why))...)
		return
	}
	p.log.Info("rate limit", fields...)
}

// someOf names operations briefly.
func someOf(operations []string) string {
	text := operations[0]
	if n := len(operations) - 1; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

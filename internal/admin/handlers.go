package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	maxBody      = 4 << 10 // bytes of a request's body
	defaultLimit = 100     // entries of a list
	maxLimit     = 10000
)

// api answers the routes from the run's sources.
type api struct{ Options }

func (a *api) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]string{"status": "ok"})
}

func (a *api) ready(w http.ResponseWriter, _ *http.Request) {
	if a.Ready != nil {
		if err := a.Ready(); err != nil {
			writeProblem(w, http.StatusServiceUnavailable, err.Error())
			return
		}
	}
	writeJSON(w, map[string]string{"status": "ready"})
}

func (a *api) openapi(w http.ResponseWriter, _ *http.Request) {
	document, err := openAPIJSON()
	if err != nil { // it is embedded, and the tests have read it
		writeProblem(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(document) // fails only when the client is gone
}

func (a *api) metrics(w http.ResponseWriter, r *http.Request) {
	if a.Metrics == nil {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		return
	}
	a.Metrics.ServeHTTP(w, r)
}

func (a *api) status(w http.ResponseWriter, _ *http.Request) {
	var s Status
	if a.Status != nil {
		s = a.Status()
	}
	s.Listeners = notNil(s.Listeners)
	s.Cassettes = notNil(s.Cassettes)
	s.Models = notNil(s.Models)
	writeJSON(w, s)
}

func (a *api) ledger(w http.ResponseWriter, _ *http.Request) {
	if a.Ledger == nil {
		writeJSON(w, struct{}{})
		return
	}
	writeJSON(w, a.Ledger())
}

func (a *api) exchanges(w http.ResponseWriter, r *http.Request) {
	q, ok := readQuery(w, r, "limit", "method", "status", "outcome", "source", "host", "rule")
	if !ok {
		return
	}
	answer := struct {
		Total     uint64     `json:"total"` // since the start; only the latest are kept
		Exchanges []Exchange `json:"exchanges"`
	}{Exchanges: []Exchange{}}
	if a.Exchanges != nil {
		answer.Total = a.Exchanges.Total()
		answer.Exchanges = a.Exchanges.Latest(q.limit, func(x *Exchange) bool {
			x.complete()
			return q.keep(x)
		})
	}
	for i := range answer.Exchanges {
		x := &answer.Exchanges[i]
		x.URL = withoutQuery(x.URL)
		x.Rules = notNil(x.Rules)
	}
	writeJSON(w, answer)
}

func (a *api) misses(w http.ResponseWriter, r *http.Request) {
	q, ok := readQuery(w, r, "limit")
	if !ok {
		return
	}
	answer := struct {
		Total  uint64 `json:"total"`
		Misses []Miss `json:"misses"`
	}{Misses: []Miss{}}
	if a.Misses != nil {
		answer.Total = a.Misses.Total()
		answer.Misses = a.Misses.Latest(q.limit, nil)
	}
	for i := range answer.Misses {
		m := &answer.Misses[i]
		m.URL = withoutQuery(m.URL)
		m.Differences = notNil(m.Differences)
	}
	writeJSON(w, answer)
}

func (a *api) link(w http.ResponseWriter, _ *http.Request) {
	l := Link{NextChangeSeconds: -1}
	if a.Link != nil {
		l = a.Link()
	}
	l.Directions, l.Classes, l.Steps = notNil(l.Directions), notNil(l.Classes), notNil(l.Steps)
	for i := range l.Classes {
		c := &l.Classes[i]
		c.To, c.Directions = notNil(c.To), notNil(c.Directions)
	}
	for i := range l.Steps {
		l.Steps[i].During = notNil(l.Steps[i].During)
	}
	writeJSON(w, l)
}

func (a *api) listRules(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Chaos bool   `json:"chaos"`
		Rules []Rule `json:"rules"`
	}{Rules: []Rule{}}
	if a.Rules != nil {
		answer.Chaos = a.Rules.Chaos()
		answer.Rules = notNil(a.Rules.List())
	}
	writeJSON(w, answer)
}

func (a *api) setRule(w http.ResponseWriter, r *http.Request) {
	enabled, ok := readSwitch(w, r)
	if !ok {
		return
	}
	name := r.PathValue("name")
	if a.Rules == nil || !a.Rules.Set(name, enabled) {
		writeProblem(w, http.StatusNotFound, fmt.Sprintf("no rule is called %q: GET /v1/rules lists them", name))
		return
	}
	writeJSON(w, struct {
		Name    string `json:"name"`
		Enabled bool   `json:"enabled"`
	}{name, enabled})
}

func (a *api) setChaos(w http.ResponseWriter, r *http.Request) {
	enabled, ok := readSwitch(w, r)
	if !ok {
		return
	}
	if a.Rules != nil {
		a.Rules.SetChaos(enabled)
	}
	writeJSON(w, switchState{&enabled})
}

func (a *api) resetScenarios(w http.ResponseWriter, _ *http.Request) {
	n := 0
	if a.ResetScenarios != nil {
		n = a.ResetScenarios()
	}
	writeJSON(w, struct {
		Reset int `json:"reset"`
	}{n})
}

// switchState is the body that turns something on or off.
type switchState struct {
	Enabled *bool `json:"enabled"`
}

// readSwitch reads {"enabled": true|false} and nothing else. It has answered
// the request where ok is false.
func readSwitch(w http.ResponseWriter, r *http.Request) (enabled, ok bool) {
	const want = `send {"enabled": true} or {"enabled": false}`
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		writeProblem(w, http.StatusUnsupportedMediaType, want+" with Content-Type: application/json")
		return false, false
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	var s switchState
	err := dec.Decode(&s)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more follows the first value")
		}
	}
	if err == nil && s.Enabled == nil {
		err = errors.New("enabled is missing")
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		writeProblem(w, http.StatusRequestEntityTooLarge, want)
		return false, false
	case err != nil:
		writeProblem(w, http.StatusBadRequest, want+": "+strings.TrimPrefix(err.Error(), "json: "))
		return false, false
	}
	return *s.Enabled, true
}

// query is what a list was asked for.
type query struct {
	limit  int
	values url.Values
}

// readQuery refuses parameters other than allowed and repeats. It has answered
// the request where ok is false.
func readQuery(w http.ResponseWriter, r *http.Request, allowed ...string) (query, bool) {
	refuse := func(detail string) (query, bool) {
		writeProblem(w, http.StatusBadRequest, detail)
		return query{}, false
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return refuse("the query is malformed: " + err.Error())
	}
	q := query{limit: defaultLimit, values: values}
	for name, vs := range values {
		if !slices.Contains(allowed, name) {
			return refuse(fmt.Sprintf("unknown parameter %q: this list takes %s", name, strings.Join(allowed, ", ")))
		}
		if len(vs) > 1 {
			return refuse(fmt.Sprintf("give %s once", name))
		}
	}
	if s := values.Get("limit"); s != "" {
		if q.limit, err = strconv.Atoi(s); err != nil || q.limit < 1 || q.limit > maxLimit {
			return refuse(fmt.Sprintf("limit: want 1 to %d, got %q", maxLimit, s))
		}
	}
	if s := values.Get("status"); s != "" {
		if n, err := strconv.Atoi(s); err != nil || n < 0 || n > 999 {
			return refuse(fmt.Sprintf("status: want a number from 0 to 999, got %q", s))
		}
	}
	return q, true
}

// keep reports whether an exchange is what was asked for.
func (q query) keep(x *Exchange) bool {
	for name := range q.values {
		want := q.values.Get(name)
		if want == "" {
			continue
		}
		var fits bool
		switch name {
		case "method":
			fits = x.Method == want
		case "status":
			fits = strconv.Itoa(x.Status) == want
		case "outcome":
			fits = x.Outcome == want
		case "source":
			fits = x.Source == want || strings.HasPrefix(x.Source, want+" ") || strings.HasPrefix(x.Source, want+"#")
		case "host":
			u, err := url.Parse(x.URL)
			fits = err == nil && strings.EqualFold(u.Host, want)
		case "rule":
			fits = slices.Contains(x.Rules, want)
		default:
			fits = true // limit
		}
		if !fits {
			return false
		}
	}
	return true
}

func withoutQuery(s string) string {
	before, _, cut := strings.Cut(s, "?")
	if cut {
		return before + "?…"
	}
	return before
}

// notNil makes an absent list [] in JSON, so that clients need not tell the two
// apart.
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

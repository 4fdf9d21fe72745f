package demo

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a run over a link tells is read from its events, and its reason from the first
// line that is for people.
func TestLinkRunIsRead(t *testing.T) {
	var l linkRun
	l.read([]byte(`{"event":"link","engine":"netem","down":{}}
{"event":"link_verified","agrees":true,"rows":[{"direction":"down","what":"loss","unit":"share","asked":0.02,"achieved":0.025,"verdict":"ok"}],"seconds":3.5}
{"event":"report"}
`))
	if l.engine != "netem" || !l.agrees || l.seconds != 3.5 || len(l.rows) != 1 || l.rows[0].show(l.rows[0].Achieved) != "2.50 %" {
		t.Errorf("read %+v", l)
	}
	l.read([]byte("{\"event\":\"x\"}\nunderstudy: capture: network: not permitted\nhint: be root\n"))
	if got := l.reason(); got != "capture: network: not permitted" {
		t.Errorf("reason = %q", got)
	}
}

// The client behind the link makes each call once and tells what came of it.
func TestVisit(t *testing.T) {
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n++; n%2 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	var out bytes.Buffer
	if err := Visit(t.Context(), s.URL, &out); err != nil {
		t.Fatal(err)
	}
	var v Visited
	if err := json.Unmarshal(out.Bytes(), &v); err != nil || v.Fates != strings.Repeat(".x", linkCalls/2) || len(v.Took) != linkCalls {
		t.Errorf("Visit wrote %s (%v)", out.Bytes(), err)
	}
}

// Where no namespaces are to be had the tour says so, and it is no failure of the tour's.
func TestNoLink(t *testing.T) {
	tour := newTour(t, 5, tiny)
	if err := tour.record(t.Context()); err != nil {
		t.Fatal(err)
	}
	tour.Executable = filepath.Join(t.TempDir(), "refuses")
	script := "#!/bin/sh\necho 'understudy: capture: network: there are no network namespaces' >&2\nexit 125\n"
	if err := os.WriteFile(tour.Executable, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := tour.link(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := tour.result.Checks[len(tour.result.Checks)-1]
	if last.Name != "link" || !last.OK || !last.Open || !strings.Contains(last.Note, "no network namespaces") || tour.result.Link.Engine != "" {
		t.Errorf("check = %+v, want an open one with the reason", last)
	}
}

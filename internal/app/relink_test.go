package app

import (
	"io"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/rules"
)

// linked is as much of a captured run as reads its link.
func linked(t *testing.T, text string, overrides ...config.Override) *parts {
	t.Helper()
	c, err := config.Parse("understudy.yaml", []byte(text), nil, overrides)
	if err != nil {
		t.Fatal(err)
	}
	p := &parts{o: Options{Command: []string{"true"}}, c: c, log: zap.NewNop(), events: NewEvents(io.Discard, true), seed: 1}
	if err := p.readLink(); err != nil {
		t.Fatal(err)
	}
	return p
}

// save hands the run a new content of its file.
func save(p *parts, text string) error {
	sources := []rules.Source{{Name: "understudy.yaml", Data: []byte(text), Shared: true}}
	set, err := rules.Parse(sources, rules.Options{})
	if err != nil {
		return err
	}
	commit, err := p.relink(sources, set)
	if err == nil && commit != nil {
		commit()
	}
	return err
}

func TestSavedLink(t *testing.T) {
	const before = "link: {down: {delay: 40ms}}\n"
	p := linked(t, before)
	if !p.linkInFile() {
		t.Error("linkInFile = false, want true")
	}
	has := func(want string, isNew bool) {
		t.Helper()
		if got := p.linkPlan.Load().At(0).Link.String(); got != want {
			t.Errorf("the link is %q, want %q", got, want)
		}
		select {
		case <-p.linkIsNew:
			if !isNew {
				t.Error("the link was said to be new")
			}
		default:
			if isNew {
				t.Error("the link was not said to be new")
			}
		}
	}
	for _, tt := range []struct {
		text, has, err string
		isNew          bool
	}{
		{"# only a comment\n" + before, "down delay=40ms; up unchanged", "", false},
		{"link: {down: {delay: 80ms}}\n", "down delay=80ms; up unchanged", "", true},
		{"link: {down: {delay: 80}}\n", "down delay=80ms; up unchanged", `understudy.yaml:1:22: delay: want a duration such as "40ms", got "80"`, false},
		{"link: {steps: [{name: a, during: ..1s, up: {delay: 9ms}}]}\n", "down unchanged; up delay=9ms", "", true},
		{"link: {steps: [{name: a, during: ..1s}]}\n", "down unchanged; up delay=9ms", `step "a" changes nothing`, false},
		{"sede: 3\nlink: {down: {delay: 1ms}}\n", "down unchanged; up delay=9ms", `unknown key "sede"`, false},
		{"seed: 3\n", "", "", true},
	} {
		switch err := save(p, tt.text); {
		case tt.err == "" && err != nil, tt.err != "" && (err == nil || !strings.Contains(place.Detail(err), tt.err)):
			t.Errorf("saved %q: %v, want an error with %q", tt.text, err, tt.err)
		}
		has(tt.has, tt.isNew)
	}
}

// What the command line says of the link stays above what the file says.
func TestSavedLinkBelowFlags(t *testing.T) {
	p := linked(t, "link: {up: {delay: 40ms}}\n", config.Override{Key: "link.down", Value: "delay=7ms", From: "--down"})
	if err := save(p, "link: {down: {delay: 1ms}, up: {delay: 50ms}}\n"); err != nil {
		t.Fatal(err)
	}
	if got, want := p.linkPlan.Load().At(0).Link.String(), "down delay=7ms; up delay=50ms"; got != want {
		t.Errorf("the link is %q, want %q", got, want)
	}
	if linked(t, "seed: 1\n", config.Override{Key: "link", Value: "lte", From: "--link"}).linkInFile() {
		t.Error("linkInFile = true for a link of the command line, want false")
	}
}

// A link that comes only later has nothing to change.
func TestSavedLinkWithoutOneBefore(t *testing.T) {
	p := linked(t, "seed: 1\n")
	if err := save(p, "link: {down: {delay: 1ms}}\n"); err == nil || !strings.Contains(err.Error(), "this run began without one") {
		t.Errorf("saved a first link: %v, want it refused", err)
	}
}

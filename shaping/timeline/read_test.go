package timeline

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/shaping"
)

func TestReadErrors(t *testing.T) {
	for text, want := range map[string]string{
		"steps: lte":                                                                             "link.yaml:1:8: want a list of steps",
		"steps: [tunnel]":                                                                        "link.yaml:1:9: want a step's keys and values",
		"steps: [{during: 1s.., outage: true}]":                                                  "link.yaml:1:9: a step has no name",
		"steps: [{name: \"\", during: 1s..}]":                                                    "name: want a name",
		"steps: [{name: a, outage: true}]":                                                       `step "a" has no during`,
		"steps: [{name: a, during: 1s..}]":                                                       `step "a" changes nothing`,
		"steps: [{name: a, during: 1s.., up: }]":                                                 "up: there are no conditions",
		"steps:\n  - name: a\n    during: 2m..1m\n    outage: true":                              "link.yaml:3:13: during: want a range that ends after it begins",
		"steps: [{name: a, during: 10001h.., outage: true}]":                                     `during: want at most 10000h0m0s, got "10001h.."`,
		"steps: [{name: a, during: 10, outage: true}]":                                           "during: want a range of times such as 2m..3m",
		"steps: [{name: a, during: [3s..4s, 1s..2s], outage: true}]":                             "during: want ranges in order and apart from each other, got 1s..2s after 3s..4s",
		"steps: [{name: a, during: 1s.., outage: yes}]":                                          `outage: want true or false, got "yes"`,
		"steps: [{name: a, during: 1s.., outage: false}]":                                        "outage: want true",
		"steps: [{name: a, during: 1s.., outage: true, down: lte}]":                              "has an outage and conditions",
		"steps: [{name: a, during: 1s.., outage: true, for: 1s}]":                                "for: want an every with it",
		"steps: [{name: a, during: 1s.., outage: true, random: true}]":                           "random: want an every with it",
		"steps: [{name: a, during: 1s.., outage: true, every: 1s}]":                              "every: want a for with it",
		"steps: [{name: a, during: 1s.., outage: true, every: 1s, for: 1s}]":                     "for: want less than every, 1s, got 1s",
		"steps: [{name: a, during: 1s.., outage: true, every: 5s, for: 3s..1s}]":                 `for: want the shorter time first, got "3s..1s"`,
		"steps: [{name: a, during: 1s.., outage: true, every: 10, for: 3s}]":                     `every: want a duration such as "30s", got "10"`,
		"steps: [{name: a, during: 1s.., outage: true, every: 0s, for: 3s}]":                     `every: want a duration such as "30s", got "0s"`,
		"steps: [{name: a, during: 1s..5s, outage: true, ramp: 3s}]":                             "ramp: 3s to come and 3s to go do not fit into 4s of during",
		"steps: [{name: a, during: 1s.., outage: true, every: 9s, for: 2s..8s, ramp: 3s}]":       "ramp: 3s to come and 3s to go do not fit into 2s of for",
		"steps: [{name: a, during: 1s.., outage: true, ramp: {up: 3s}}]":                         `ramp: unknown key "up"`,
		"steps: [{name: a, during: 1s.., outage: true, ramp: 25h}]":                              "ramp: want at most 24h0m0s",
		"steps: [{name: a, durnig: 1s.., outage: true}]":                                         `link.yaml:1:19: unknown key "durnig"`,
		"steps:\n  - {name: a, during: 1s.., down: {dleay: 5ms}}":                                `link.yaml:2:36: down: unknown condition "dleay"`,
		"steps:\n  - {name: a, during: 1s.., link: \"lte,loss=3\"}":                              "link: loss: want a percentage",
		"steps:\n  - {name: a, during: 1s.., up: {profile: lt}}":                                 "up: profile: want KEY=VALUE or a profile",
		"steps:\n  - {name: a, during: 1s.., outage: true}\n  - {name: a, during: 1s.., up: 3g}": `link.yaml:3:5: step "a" is there twice`,
	} {
		l, err := read(text, 1)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want an error with %q", text, l, err, want)
		}
	}
	_, err := read("steps: [{name: a, durnig: 1s..}, {name: b, during: 1}]", 1)
	var all place.List
	if !errors.As(err, &all) || len(all) != 2 {
		t.Errorf("errors = %v, want both", err)
	}
}

// down and up win over link in their direction.
func TestReadDirections(t *testing.T) {
	for _, keys := range []string{"link: {delay: 1ms}, up: {delay: 2ms}", "up: {delay: 2ms}, link: {delay: 1ms}"} {
		l := timeline(t, "steps: [{name: a, during: 0s.., "+keys+"}]")
		at(t, l, shaping.Down, map[string]string{"1s": "delay=1ms"})
		at(t, l, shaping.Up, map[string]string{"1s": "delay=2ms"})
	}
}

func TestLint(t *testing.T) {
	l := timeline(t, `
down: {delay: 40ms, jitter: 8ms}
steps:
  - {name: silent, during: 1s..9s, ramp: 1s, down: {delay: 80ms}}
  - {name: broken, during: 1s..9s, up: {loss: 5%, loss_correlation: 25%}}
  - {name: ramped, during: 1s..9s, ramp: 1s, down: {rate: 1mbit}}
`)
	var got []string
	for _, f := range l.Lint(shaping.Lint) {
		got = append(got, f.Step.Name+" "+string(f.Direction)+" "+f.Name+" "+string(f.Level))
	}
	want := []string{"broken up loss_correlation warning", "ramped down jitter note", "ramped down rate note"}
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		t.Errorf("Lint = %q, want %q", got, want)
	}
}

// What is read is a timeline whose laws hold, and what is refused has its place in the
// text.
func FuzzRead(f *testing.F) {
	f.Add("down: lte\nsteps:\n  - {name: tunnel, during: 2m..2m10s, outage: true}\n")
	f.Add("steps:\n  - name: c\n    during: [3m..5m, 6m..]\n    ramp: {in: 30s, out: 1s}\n    down: {rate: 1mbit, delay: 200ms}\n    up: lte,loss=3%\n")
	f.Add("steps:\n  - {name: f, during: ..7m, every: 10s, for: 2s..3s, random: true, link: {profile: 3g, loss: 1%, burst: 2}, ramp: 100ms}\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := read(text, 3)
		if err != nil {
			var all place.List
			var one *place.Error
			if !errors.As(err, &all) && !errors.As(err, &one) {
				t.Fatalf("read = %v, want a place", err)
			}
			for _, e := range all {
				if e.Line > strings.Count(text, "\n")+1 {
					t.Fatalf("%v: there is no such line in %q", e, text)
				}
			}
			return
		}
		now := time.Duration(0)
		for range 200 {
			next, ok := holds(t, l, now)
			if !ok {
				return
			}
			now = next
		}
	})
}

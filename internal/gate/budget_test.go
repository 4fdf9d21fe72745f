package gate

import (
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/internal/place"
)

func TestParseBudget(t *testing.T) {
	b, err := ParseBudget("gate.yaml", []byte("scenarios:\n  reverse:\n    added_p50: 200us\n    added_p99: 2ms\n    throughput_ratio: 0.4\n  forward: {cpu_per_request: 150us}\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := b.limits("reverse")
	if *r.AddedP50 != 200*time.Microsecond || *r.AddedP99 != 2*time.Millisecond || *r.ThroughputRatio != 0.4 || r.CPUPerRequest != nil {
		t.Errorf("reverse = %+v", r)
	}
	if f := b.limits("forward"); f.AddedP50 != nil || *f.CPUPerRequest != 150*time.Microsecond {
		t.Errorf("forward = %+v", f)
	}
	if err := b.Check([]string{"reverse", "forward", "tcp"}); err != nil {
		t.Error(err)
	}
	if err := b.Check([]string{"reverse"}); err == nil || !strings.HasPrefix(err.Error(), `gate.yaml:6:3: budget: no scenario "forward"`) {
		t.Errorf("Check = %v", err)
	}
}

func TestBudgetErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "gate.yaml:1:1: budget: want scenarios, the file is empty",
		"# nothing":                          "gate.yaml:1:1: budget: want scenarios, the file is empty",
		"[]":                                 "gate.yaml:1:1: budget: want a mapping, got a list",
		"scenario: {}":                       `gate.yaml:1:1: budget: unknown key "scenario"`,
		"scenarios: 7":                       "gate.yaml:1:12: scenarios: want a mapping, got 7",
		"scenarios:\n  a:\n":                 "a: want a mapping, got nothing",
		"scenarios:\n  a: {addedp50: 1ms}":   `gate.yaml:2:7: a: unknown key "addedp50"`,
		"scenarios:\n  a: {added_p50: 200}":  `gate.yaml:2:18: added_p50: want a duration above 0 such as "200us", got "200"`,
		"scenarios:\n  a: {added_p50: fast}": `gate.yaml:2:18: added_p50: want a duration`,
		"scenarios:\n  a: {added_p99: -1ms}": `gate.yaml:2:18: added_p99: want a duration`,
		"scenarios:\n  a: {throughput_ratio: 40}":   `gate.yaml:2:25: throughput_ratio: want a number above 0`,
		"scenarios:\n  a: {throughput_ratio: []}":   `gate.yaml:2:25: throughput_ratio: want a number above 0`,
		"scenarios:\n  a: {throughput_ratio: .nan}": `throughput_ratio: want a number above 0`,
		"scenarios: {": "gate.yaml:1:",
	} {
		b, err := ParseBudget("gate.yaml", []byte(text))
		if err == nil || b != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseBudget(%q) = %v, %v, want %q", text, b, err, want)
		}
	}
	// All findings come at once, each with its line and caret.
	_, err := ParseBudget("gate.yaml", []byte("scenarios:\n  a:\n    added_p50: soon\n    speed: 3\n"))
	if detail := place.Detail(err); strings.Count(detail, "^") != 2 || !strings.Contains(detail, "hint: a number needs a unit") {
		t.Errorf("detail:\n%s", detail)
	}
}

func FuzzParseBudget(f *testing.F) {
	f.Add("scenarios:\n  reverse: {added_p50: 200us, throughput_ratio: 0.4}\n")
	f.Add("scenarios: {a: &x {added_p99: 1ms}, b: *x}")
	f.Add("? [a]: b\n: c")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBudget("f", []byte(text))
		if (b == nil) == (err == nil) {
			t.Fatalf("ParseBudget(%q) = %v, %v, want one of them", text, b, err)
		}
		if err != nil {
			return
		}
		for name, l := range b.Scenarios { // what was accepted can be judged
			if l.AddedP50 != nil && *l.AddedP50 <= 0 || l.ThroughputRatio != nil && !(*l.ThroughputRatio > 0 && *l.ThroughputRatio <= 1) {
				t.Fatalf("ParseBudget(%q): %s = %+v", text, name, l)
			}
		}
		if err := b.Check(nil); (err == nil) != (len(b.Scenarios) == 0) {
			t.Fatalf("Check(nil) = %v with %d scenarios", err, len(b.Scenarios))
		}
	})
}

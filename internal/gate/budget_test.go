package gate

import (
	"maps"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

const budgetText = `regression: {cpu: 5%, allocs: 2%}
scenarios:
  reverse:
    added_p50: 200us
    added_p99: 2ms
    throughput_ratio: 0.4
    rss: 80MiB
    connections:
      64: {added_p50: 1ms, allocs_per_request: 0}
  forward: {cpu_per_request: 150us, regression: 10%}
`

func TestParseBudget(t *testing.T) {
	b, err := ParseBudget("gate.yaml", []byte(budgetText))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		scenario    string
		connections int
		against     Against
		want        Limits
	}{
		{"reverse", 16, AgainstDirect, Limits{"added_p50": {200e3, 4}, "added_p99": {2e6, 5}, "throughput_ratio": {0.4, 6}, "rss": {80 << 20, 7}}},
		{"reverse", 64, AgainstDirect, Limits{"added_p50": {1e6, 9}, "added_p99": {2e6, 5}, "throughput_ratio": {0.4, 6}, "rss": {80 << 20, 7}, "allocs_per_request": {0, 9}}},
		{"reverse", 16, AgainstBaseline, Limits{"cpu_ratio": {1.05, 1}, "allocs_ratio": {1.02, 1}, "rss": {80 << 20, 7}}},
		{"forward", 1, AgainstBaseline, Limits{"cpu_ratio": {1.1, 10}, "p50_ratio": {1.1, 10}, "allocs_ratio": {1.02, 1}, "cpu_per_request": {150e3, 10}}},
		{"tcp", 1, AgainstDirect, Limits{}},
		{"tcp", 1, AgainstBaseline, Limits{"cpu_ratio": {1.05, 1}, "allocs_ratio": {1.02, 1}}},
	} {
		if got := b.limits(tt.scenario, tt.connections, tt.against); !maps.Equal(got, tt.want) {
			t.Errorf("limits(%s, %d, %s) = %v, want %v", tt.scenario, tt.connections, tt.against, got, tt.want)
		}
	}
	if err := b.Check([]string{"reverse", "forward", "tcp"}); err != nil {
		t.Error(err)
	}
	if err := b.Check([]string{"reverse"}); err == nil || !strings.HasPrefix(err.Error(), `gate.yaml:10:3: budget: no scenario "forward"`) {
		t.Errorf("Check = %v", err)
	}
	if got := b.unused([]ScenarioReport{{Name: "reverse", Connections: 16}}); strings.Join(got, "; ") != "forward; reverse, 64 connections" {
		t.Errorf("unused = %q", got)
	}
	if got := (*Budget)(nil).limits("s", 1, AgainstDirect); len(got) != 0 {
		t.Errorf("limits of no budget = %v", got)
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
		"scenarios:\n  a: {throughput_ratio: 40}":         `gate.yaml:2:25: throughput_ratio: want a number above 0`,
		"scenarios:\n  a: {throughput_ratio: []}":         `gate.yaml:2:25: throughput_ratio: want a number above 0`,
		"scenarios:\n  a: {throughput_ratio: .nan}":       `throughput_ratio: want a number above 0`,
		"scenarios:\n  a: {rss: 80}":                      `rss: want a size such as "80MiB", got "80"`,
		"scenarios:\n  a: {rss: -1KB}":                    `rss: want a size`,
		"scenarios:\n  a: {allocs_per_request: -1}":       `allocs_per_request: want a number, 0 or more`,
		"scenarios:\n  a: {connections: {x: {}}}":         `gate.yaml:2:21: connections: want a number above 0, got "x"`,
		"scenarios:\n  a: {connections: {1: {speed: 1}}}": `a: unknown key "speed"`,
		"regression: 5":           `gate.yaml:1:13: regression: want a share above 0% such as "5%", got "5"`,
		"regression: {cpu: 0%}":   `regression: want a share above 0%`,
		"regression: {speed: 1%}": `gate.yaml:1:14: regression: unknown key "speed"`,
		"regression: [5%]":        `regression: want a share above 0%`,
		"scenarios: {":            "gate.yaml:1:",
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
	f.Add(budgetText)
	f.Add("? [a]: b\n: c")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBudget("f", []byte(text))
		if (b == nil) == (err == nil) {
			t.Fatalf("ParseBudget(%q) = %v, %v, want one of them", text, b, err)
		}
		if err != nil {
			return
		}
		for name, sb := range b.Scenarios { // what was accepted can be judged
			for metric, l := range sb.Limits {
				if !(l.Value >= 0) || l.Value > 1e19 || l.Line < 1 {
					t.Fatalf("ParseBudget(%q): %s.%s = %+v", text, name, metric, l)
				}
			}
		}
		if err := b.Check(nil); (err == nil) != (len(b.Scenarios) == 0) {
			t.Fatalf("Check(nil) = %v with %d scenarios", err, len(b.Scenarios))
		}
	})
}

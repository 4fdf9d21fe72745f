package rules

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

const (
	typeA    = 1
	typeAAAA = 28
)

func namesEngine(t *testing.T, seed uint64, text string) *Engine {
	t.Helper()
	set, err := Parse([]Source{{Name: "rules.yaml", Data: []byte(text)}}, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	e := NewEngine(seed, func(rule string, err error) { t.Errorf("rule %s: %v", rule, err) })
	e.Swap(set)
	return e
}

func TestNames(t *testing.T) {
	e := namesEngine(t, 7, `rules:
- {name: slow, when: dns.name != "", delay: 30ms}
- {name: spared, when: dns.name == "spared.test", stop: true}
- {name: slower, when: dns.name startsWith "gone.", delay: 20ms, fault: {dns: nxdomain}}
- {name: second, when: dns.name == "gone.test", fault: {dns: servfail}}
- {name: later, during: 1m.., fault: {dns: timeout}}
- {name: requests only, delay: 1s}
`)
	for _, c := range []struct {
		name    string
		elapsed time.Duration
		want    fixtures.NamePlan
	}{
		{"other.test", 0, fixtures.NamePlan{Hold: 30 * time.Millisecond, Fired: []string{"slow"}}},
		{"spared.test", 2 * time.Minute, fixtures.NamePlan{Hold: 30 * time.Millisecond, Fired: []string{"slow", "spared"}}},
		{"gone.test", 2 * time.Minute, fixtures.NamePlan{Fault: fixtures.NameUnknown, Hold: 50 * time.Millisecond, Fired: []string{"slow", "slower"}}},
		{"other.test", 2 * time.Minute, fixtures.NamePlan{Fault: fixtures.NameTimeout, Hold: 30 * time.Millisecond, Fired: []string{"slow", "later"}}},
	} {
		if got := e.Resolve(&Lookup{Name: c.name, Type: typeA, Elapsed: c.elapsed}); !reflect.DeepEqual(got, c.want) {
			t.Errorf("Resolve(%s at %s) = %+v, want %+v", c.name, c.elapsed, got, c.want)
		}
	}
	// Rules about names leave requests alone.
	if p := e.Plan(&Input{Request: &fixtures.Request{Method: "GET", Host: "gone.test", Target: "/"}}); len(p.Fired) != 1 {
		t.Errorf("Plan fired %q, want only the rule about requests", p.Fired)
	}
	e.SetAllEnabled(false)
	if got := e.Resolve(&Lookup{Name: "gone.test", Type: typeA, Elapsed: time.Hour}); got.Fault != "" || got.Fired != nil {
		t.Errorf("Resolve with rules switched off = %+v, want nothing", got)
	}
}

// The questions of one resolution are decided, and counted, once.
func TestNamesOneResolution(t *testing.T) {
	e := namesEngine(t, 1, `rules: [{name: once, when: dns.name == "a.test", count: 1, fault: {dns: servfail}}]`)
	ask := func(kind uint16, at time.Duration) string {
		p := e.Resolve(&Lookup{Name: "a.test", Type: kind, Elapsed: at})
		return fmt.Sprintf("%s %v", p.Fault, p.Again)
	}
	got := []string{
		ask(typeAAAA, 0), ask(typeA, time.Millisecond), // either may come first
		ask(typeA, 2*time.Millisecond), ask(typeAAAA, 2*time.Millisecond), // again
		ask(65, 20*time.Second), // too late to belong to it
	}
	want := []string{"servfail false", "servfail true", " false", " true", " false"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("answers are %q, want %q", got, want)
	}
	if s := e.Rules()[0]; s.Matched != 3 || s.Fired != 1 {
		t.Errorf("matched %d and fired %d, want 3 and 1", s.Matched, s.Fired)
	}
}

// Same seed, same fate of the n-th resolution, whatever else is asked between.
func TestNamesSameSeed(t *testing.T) {
	const text = `rules: [{name: flaky, when: dns.name endsWith ".test", chance: 0.5, delay: 'uniform("0s", "1s")', fault: {dns: nxdomain}}]`
	run := func(seed uint64, between bool) (all []string) {
		e := namesEngine(t, seed, text)
		for range 64 {
			if between {
				e.Resolve(&Lookup{Name: "b.test", Type: typeA})
			}
			p := e.Resolve(&Lookup{Name: "a.test", Type: typeA})
			all = append(all, fmt.Sprint(p.Fault, p.Hold))
			e.Resolve(&Lookup{Name: "a.test", Type: typeAAAA})
		}
		return all
	}
	if a, b := run(7, false), run(7, true); !reflect.DeepEqual(a, b) {
		t.Errorf("seed 7 gives %q, and %q beside other names", a, b)
	}
	if a, b := run(7, false), run(8, false); reflect.DeepEqual(a, b) {
		t.Error("seeds 7 and 8 give the same")
	}
}

// A rule about names keeps its counters over a reload, as any other.
func TestNamesReload(t *testing.T) {
	e := namesEngine(t, 1, `rules: [{name: n, when: dns.name == "a.test", fault: {dns: nxdomain}}]`)
	first := e.Resolve(&Lookup{Name: "a.test", Type: typeA})
	set, err := Parse([]Source{{Name: "rules.yaml", Data: []byte(`rules: [{name: n, when: dns.name == "a.test", fault: {dns: timeout}}]`)}}, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	e.Swap(set)
	second := e.Resolve(&Lookup{Name: "a.test", Type: typeA})
	if first.Fault != fixtures.NameUnknown || second.Fault != fixtures.NameTimeout || e.Rules()[0].Fired != 2 {
		t.Errorf("faults %q then %q, fired %d; want nxdomain, timeout and 2", first.Fault, second.Fault, e.Rules()[0].Fired)
	}
}

func TestNamesAreBounded(t *testing.T) {
	e := NewEngine(1, nil)
	for i := range 3 * resolutionsKept {
		e.Resolve(&Lookup{Name: fmt.Sprint(i), Type: typeA})
	}
	if n := len(e.asked.byName); n > resolutionsKept {
		t.Errorf("%d names are remembered, want at most %d", n, resolutionsKept)
	}
}

func TestNamesErrors(t *testing.T) {
	for _, c := range []struct{ rule, want string }{
		{`{name: x, fault: {dns: nx}}`, `1:32: fault: dns: want nxdomain, servfail or timeout, got "nx"`},
		{`{name: x, when: dns.host == "a", fault: {dns: nxdomain}}`, `dns has no "host"`},
		{`{name: x, when: request.host == "a", fault: {dns: nxdomain}}`, `1:19: when: a name is resolved before there is a connection or a request`},
		{`{name: x, when: dns.name == "a" && client.ip == "::1", delay: 1s}`, `1:19: when: a name is resolved before`},
		{`{name: x, when: dns.name == "a", delay: 'load.inflight * duration("1ms")'}`, `1:42: delay: a name is resolved before`},
		{`{name: x, when: dns.name == "a", delay: {before: first_byte, is: 1s}}`, `1:42: delay: the answer to a name is held back as a whole`},
		{`{name: x, when: dns.name == "a", fault: {status: 503}}`, `1:42: fault: a name has no answer of HTTP to bend`},
		{`{name: x, when: dns.name == "a", fault: {drip: {every: 1s}}}`, `1:42: fault: a name has no answer of HTTP to bend`},
		{`{name: x, when: dns.name == "a", fault: {refuse: tls}}`, `1:19: when: a connection is refused before`},
		{`{name: x, fault: {dns: timeout}, throttle: 1kbit}`, `1:42: throttle: a name has no answer of HTTP to bend`},
		{`{name: x, when: dns.name == "a"}`, `rule "x" does nothing`},
	} {
		_, err := Parse([]Source{{Name: "r.yaml", Data: []byte("rules: [" + c.rule + "]")}}, testOptions)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.rule, err, c.want)
		}
	}
}

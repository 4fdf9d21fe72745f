package timeline

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/shaping"
)

// A step changes what it names: the link itself, some of its classes, or all.
func TestStepsOfClasses(t *testing.T) {
	l := timeline(t, `
down: delay=40ms
classes:
  - {name: near, to: a.test, link: delay=1ms}
  - {name: far, link: delay=80ms}
steps:
  - {name: own, during: 1s..2s, down: {delay: 50ms}}
  - {name: one, during: 3s..4s, class: far, down: {delay: 90ms}}
  - {name: some, during: 5s..6s, class: [near, far], up: {loss: 5%}}
  - {name: every, during: 7s..8s, class: all, outage: true}
  - {name: ramp, during: 9s..11s, class: near, ramp: 1s, link: {delay: 11ms}}
`)
	for at, want := range map[float64]string{
		0:   "down delay=40ms; up unchanged | delay=1ms | delay=80ms",
		1:   "down delay=50ms; up unchanged | delay=1ms | delay=80ms",
		3:   "down delay=40ms; up unchanged | delay=1ms | down delay=90ms; up delay=80ms",
		5:   "down delay=40ms; up unchanged | down delay=1ms; up delay=1ms,loss=5% | down delay=80ms; up delay=80ms,loss=5%",
		7:   "down delay=40ms,loss=100%; up loss=100% | delay=1ms,loss=100% | delay=80ms,loss=100%",
		8:   "down delay=40ms; up unchanged | delay=1ms | delay=80ms",
		9.5: "down delay=40ms; up unchanged | delay=6ms | delay=80ms",
	} {
		state := l.At(time.Duration(at * float64(time.Second)))
		got := state.Link.String()
		for _, c := range state.Classes {
			got += " | " + c.Link.String()
		}
		if got != want {
			t.Errorf("at %vs the link is\n%s\nwant\n%s", at, got, want)
		}
	}
	if before := l.At(0); !slices.EqualFunc(before.Classes, l.Classes(), func(a, b shaping.LinkClass) bool { return a.Link == b.Link }) {
		t.Error("steps changed the classes themselves")
	}
	if l.Touches(shaping.Up) != true { // by the outage of all
		t.Error("Touches(up) = false, want true")
	}
}

// Same tells states apart by all that packets meet, and by nothing else.
func TestStatesAreTheSame(t *testing.T) {
	text := "down: delay=40ms\nclasses: [{name: a, to: a.test, link: lte}]\nsteps: [{name: s, during: 1s..2s, class: a, down: {delay: 9ms}}]"
	l := timeline(t, text)
	at := func(l *Timeline, s int) *State {
		state := l.At(time.Duration(s) * time.Second)
		return &state
	}
	if !at(l, 0).Same(at(l, 2)) || !at(l, 1).Same(at(timeline(t, text), 1)) {
		t.Error("states that are the same are told apart")
	}
	if at(l, 0).Same(at(l, 1)) {
		t.Error("a step of a class is no difference")
	}
	for _, other := range []string{"a.test, link: lte", "b.test, link: lte", "a.test, link: 3g"} {
		for _, name := range []string{"a", "b"} {
			o := timeline(t, fmt.Sprintf("down: delay=40ms\nclasses: [{name: %s, to: %s}]", name, other))
			if got, want := at(l, 0).Same(at(o, 0)), name == "a" && other == "a.test, link: lte"; got != want {
				t.Errorf("Same with class %s, %s = %v, want %v", name, other, got, want)
			}
		}
	}
}

func TestStepsOfClassesAreChecked(t *testing.T) {
	_, err := read(`
classes:
  - {name: database, link: delay=5ms}
  - {name: cache, link: none}
steps:
  - {name: a, during: 1s.., class: databse, outage: true}
  - {name: b, during: 1s.., class: [cache, rest], outage: true}
  - {name: c, during: 1s.., class: database, down: {jitter: 8ms}}
  - {name: d, during: 1s.., class: all, down: {queue: 1s}}
`, 1)
	if err == nil {
		t.Fatal("New took all of it")
	}
	for _, want := range []string{
		`6:36: step "a": there is no class "databse"`, `did you mean "database"?`,
		`7:44: step "b": there is no class "rest"`, "classes: database, cache",
		`8:5: step "c": down: jitter: want at most the delay, 5ms, got 8ms`, "at 1s, beside d",
		`9:5: step "d": down: queue: want a rate with it`,
	} {
		if detail := place.Detail(err); !strings.Contains(detail, want) {
			t.Errorf("no %q in\n%s", want, detail)
		}
	}
	for text, want := range map[string]string{
		"class: []":             "class: the list is empty",
		"class: [all, cache]":   "class: all are all",
		"class: {name: cache}":  "class: want a class's name",
		"klass: cache":          `did you mean "class"?`,
		"class: [[cache], all]": "class: want a class's name",
	} {
		if _, err := read("steps: [{name: a, during: 1s.., outage: true, "+text+"}]", 1); err == nil || !strings.Contains(place.Detail(err), want) {
			t.Errorf("%s: %v, want an error with %q", text, err, want)
		}
	}
}

// Lint tells of a class what it tells of the link, and of a step in it only what is new.
func TestLintOfClasses(t *testing.T) {
	l := timeline(t, `
classes: [{name: a, link: {delay: 20ms, ecn: true}}]
steps: [{name: s, during: 1s.., class: a, down: {gap: 5}}]
`)
	var got []string
	for _, f := range l.Lint(shaping.LintPlain) {
		step := ""
		if f.Step != nil {
			step = f.Step.Name
		}
		got = append(got, f.Class+" "+step+" "+f.Name)
	}
	if want := []string{"a  ecn", "a s gap"}; !slices.Equal(got, want) {
		t.Errorf("Lint = %q, want %q", got, want)
	}
}

// Whatever steps there are, the link itself and each class have at every instant what they
// would have alone, with the steps that name them.
func TestLawOfClasses(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, 0))
	bases := map[string]string{"": "delay=40ms,jitter=5ms", "a": "delay=5ms,rate=4mbit", "b": "loss=2%,delay=80ms"}
	conditions := []string{"{delay: 200ms}", "{loss: 5%, burst: 4}", "{rate: 1mbit}", "lte", "{delay: 30ms, jitter: 10ms}", "{duplicate: 1%}"}
	taken := 0
	for n := range 100 {
		classes := "classes:\n"
		for _, name := range []string{"a", "b"} {
			classes += fmt.Sprintf("  - {name: %s, link: '%s'}\n", name, bases[name])
		}
		whole := fmt.Sprintf("down: %s\nup: %s\n%ssteps:\n", bases[""], bases[""], classes)
		alone := map[string]string{}
		for name, base := range bases {
			alone[name] = fmt.Sprintf("down: %s\nup: %s\nsteps:\n  - {name: none, during: 20s.., link: {delay: 1s}}\n", base, base)
		}
		for i := range 1 + r.IntN(5) {
			step := fmt.Sprintf("{name: s%d, during: %dms..%dms, ", i, r.IntN(5000), 5000+r.IntN(5000))
			if r.IntN(3) == 0 {
				step += "every: 900ms, for: 100ms..600ms, random: true, "
			} else if r.IntN(2) == 0 {
				step += "ramp: 300ms, "
			}
			step += "link: " + conditions[r.IntN(len(conditions))]
			of := [][]string{{""}, {"a"}, {"b"}, {"a", "b"}, {"", "a", "b"}}[r.IntN(5)]
			class := map[string]string{"": "", "a": ", class: a", "b": ", class: [b]", "ab": ", class: [b, a]"}[strings.Join(of, "")]
			if len(of) == 3 {
				class = ", class: all"
			}
			whole += "  - " + step + class + "}\n"
			for _, name := range of {
				alone[name] += "  - " + step + "}\n"
			}
		}
		l, err := read(whole, uint64(n))
		if err != nil {
			continue
		}
		taken++
		for name, text := range alone {
			one := timelineOfSeed(t, text, uint64(n))
			for range 40 {
				at := time.Duration(r.Int64N(int64(11 * time.Second)))
				state, want := l.At(at), one.At(at).Link
				got := state.Link
				if i := slices.IndexFunc(state.Classes, func(c shaping.LinkClass) bool { return c.Name == name }); i >= 0 {
					got = state.Classes[i].Link
				}
				if got != want {
					t.Fatalf("%s: at %v class %q has %s, want %s", whole, at, name, got, want)
				}
			}
		}
	}
	if taken < 50 {
		t.Fatalf("%d of 100 timelines (seed %d) were possible: too few to say anything", taken, seed)
	}
}

func timelineOfSeed(t *testing.T, text string, seed uint64) *Timeline {
	t.Helper()
	l, err := read(text, seed)
	if err != nil {
		t.Fatal(place.Detail(err))
	}
	return l
}

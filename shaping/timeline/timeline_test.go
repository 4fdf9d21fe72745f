package timeline

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
)

// at compares a direction's conditions at instants, "" for none.
func at(t *testing.T, l *Timeline, d shaping.Direction, want map[string]string) {
	t.Helper()
	for text, conditions := range want {
		instant, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		state := l.At(instant)
		if got := state.Link.Of(d).String(); got != conditions {
			t.Errorf("At(%s) %s = %q, want %q", text, d, got, conditions)
		}
	}
}

func TestStep(t *testing.T) {
	l := timeline(t, `
down: {delay: 40ms, jitter: 8ms, rate: 12mbit}
steps:
  - {name: slow, during: [1m..2m, 5m..6m], down: {rate: 1mbit}, up: {delay: 5ms}}
  - {name: gone, during: 10m.., link: 3g-slow}
`)
	at(t, l, shaping.Down, map[string]string{
		"0s":       "delay=40ms,jitter=8ms,rate=12mbit",
		"59.999s":  "delay=40ms,jitter=8ms,rate=12mbit",
		"1m":       "delay=40ms,jitter=8ms,rate=1mbit",
		"1m59.9s":  "delay=40ms,jitter=8ms,rate=1mbit",
		"2m":       "delay=40ms,jitter=8ms,rate=12mbit",
		"5m30s":    "delay=40ms,jitter=8ms,rate=1mbit",
		"10m":      "delay=200ms,jitter=20ms,distribution=paretonormal,loss=0.5%,burst=3,rate=400kbit,queue=600ms",
		"1000h30s": "delay=200ms,jitter=20ms,distribution=paretonormal,loss=0.5%,burst=3,rate=400kbit,queue=600ms",
	})
	at(t, l, shaping.Up, map[string]string{"0s": "", "1m": "delay=5ms", "2m": ""})
	if next, ok := l.Next(10 * time.Minute); ok {
		t.Errorf("Next(10m) = %v, want never", next)
	}
}

// A ramp comes in 50 ms steps and goes likewise: times and shares in a line, rates by
// equal factors.
func TestRamp(t *testing.T) {
	l := timeline(t, `
down: {delay: 100ms, rate: 16mbit, loss: 1%}
up: {delay: 10ms}
steps:
  - {name: congestion, during: 10s..20s, ramp: {in: 4s, out: 2s}, down: {delay: 200ms, rate: 1mbit, loss: 2%}, up: {rate: 1mbit}}
`)
	at(t, l, shaping.Down, map[string]string{
		"9.999s":  "delay=100ms,loss=1%,rate=16mbit",
		"10s":     "delay=100ms,loss=1%,rate=16mbit",
		"10.049s": "delay=100ms,loss=1%,rate=16mbit",
		"10.05s":  "delay=101.25ms,loss=1.0125%,rate=15455kbit",
		"11s":     "delay=125ms,loss=1.25%,rate=8mbit",
		"12s":     "delay=150ms,loss=1.5%,rate=4mbit",
		"14s":     "delay=200ms,loss=2%,rate=1mbit",
		"18s":     "delay=200ms,loss=2%,rate=1mbit",
		"19s":     "delay=150ms,loss=1.5%,rate=4mbit",
		"20s":     "delay=100ms,loss=1%,rate=16mbit",
	})
	// Without a rate below there is none to go from: the step's holds all the way.
	at(t, l, shaping.Up, map[string]string{"10s": "delay=10ms", "10.05s": "delay=10ms,rate=1mbit", "19.9s": "delay=10ms,rate=1mbit", "20s": "delay=10ms"})
	for instant, want := range map[time.Duration]time.Duration{
		0: 10 * time.Second, 10 * time.Second: 10050 * time.Millisecond, 10010 * time.Millisecond: 10050 * time.Millisecond,
		13950 * time.Millisecond: 14 * time.Second, 14 * time.Second: 18 * time.Second, 18 * time.Second: 18050 * time.Millisecond,
	} {
		if got, _ := l.Next(instant); got != want {
			t.Errorf("Next(%v) = %v, want %v", instant, got, want)
		}
	}
}

// From a loss of one kind to none, and back, through losses of the same kind; a jitter
// keeps its shape as long as there is any.
func TestRampOfLosses(t *testing.T) {
	l := timeline(t, `
down: lte
up: {delay: 10ms, gemodel: 2%/20%}
steps:
  - {name: clean, during: 10s..20s, ramp: {in: 4s}, down: {jitter: 0ms, distribution: uniform, loss: 0%}, up: {loss: 0%}}
  - {name: bursts, during: 30s..40s, ramp: {in: 4s}, down: {loss: 4%, burst: 5}}
  - {name: total, during: 50s..60s, ramp: {in: 4s}, outage: true}
`)
	at(t, l, shaping.Down, map[string]string{
		"12s": "delay=35ms,jitter=1.5ms,distribution=paretonormal,loss=0.025%,burst=2,rate=12mbit,queue=150ms",
		"14s": "delay=35ms,rate=12mbit,queue=150ms",
		"32s": "delay=35ms,jitter=3ms,distribution=paretonormal,loss=2.025%,burst=4,rate=12mbit,queue=150ms",
		"52s": "delay=35ms,jitter=3ms,distribution=paretonormal,loss=50.025%,rate=12mbit,queue=150ms",
		"54s": "delay=35ms,jitter=3ms,distribution=paretonormal,loss=100%,rate=12mbit,queue=150ms",
	})
	at(t, l, shaping.Up, map[string]string{
		"12s": "delay=10ms,gemodel=1%/20%/100%/0%",
		"14s": "delay=10ms",
		"54s": "delay=10ms,loss=100%",
	})
}

// A trace has nothing between it and anything else: it holds as long as its side has a
// part.
func TestRampOfTraces(t *testing.T) {
	l := timeline(t, `
down: {trace: lake.trace, queue: 300ms}
up: {delay: 10ms, jitter: 1ms}
steps:
  - {name: away, during: 10s..20s, ramp: {in: 4s}, down: {rate: 1mbit, delay: 40ms}, up: {delay_trace: rtt.txt}}
  - {name: back, during: 30s..40s, ramp: {in: 4s}, link: cable}
`)
	at(t, l, shaping.Down, map[string]string{
		"10s": "trace=lake.trace,queue=300ms",
		"12s": "delay=20ms,rate=1mbit,queue=300ms",
		"32s": "delay=7ms,rate=5mbit,queue=200ms",
	})
	at(t, l, shaping.Up, map[string]string{"10s": "delay=10ms,jitter=1ms", "10.05s": "delay_trace=rtt.txt", "32s": "delay=12ms,jitter=500µs,rate=1mbit,queue=250ms"})
}

// Of several steps the later one wins, condition by condition; an outage is one whatever
// is below it.
func TestOverlap(t *testing.T) {
	l := timeline(t, `
down: {delay: 40ms, duplicate: 1%, ecn: true, loss: 1%}
steps:
  - {name: first, during: 1m..4m, down: {delay: 60ms, loss: 5%}}
  - {name: second, during: 2m..3m, down: {delay: 80ms}}
  - {name: outage, during: 3m30s..5m, outage: true}
  - {name: whole, during: 4m30s.., down: dsl}
`)
	at(t, l, shaping.Down, map[string]string{
		"1m":    "delay=60ms,loss=5%,duplicate=1%,ecn=true",
		"2m":    "delay=80ms,loss=5%,duplicate=1%,ecn=true",
		"3m":    "delay=60ms,loss=5%,duplicate=1%,ecn=true",
		"3m30s": "delay=60ms,loss=100%",
		"4m":    "delay=40ms,loss=100%",
		"4m30s": "delay=25ms,rate=1500kbit,overhead=18,cell=48,cell_overhead=5,queue=200ms",
	})
	at(t, l, shaping.Up, map[string]string{"3m": "", "3m30s": "loss=100%", "5m": ""})
	state := l.At(3*time.Minute + 45*time.Second)
	if got := fmt.Sprint(state.Steps); got != "[{first 1} {outage 1}]" {
		t.Errorf("At(3m45s).Steps = %s, want first and outage", got)
	}
	for _, d := range directions {
		if !l.Touches(d) {
			t.Errorf("Touches(%s) = false, want true", d)
		}
	}
	if timeline(t, "down: lte\nsteps: [{name: a, during: 1s.., down: 3g}]").Touches(shaping.Up) {
		t.Error("Touches(up) = true, want false: nothing names it")
	}
}

// outages are the times within the first while of a timeline at which everything is lost.
func outages(t *testing.T, l *Timeline, while time.Duration) (all []window) {
	t.Helper()
	for now := time.Duration(0); now < while; {
		next, ok := holds(t, l, now)
		if !ok {
			next = while
		}
		if l.At(now).Link.Down.Loss == 1 {
			all = append(all, window{now, next})
		}
		now = next
	}
	return all
}

func TestFlapping(t *testing.T) {
	l := timeline(t, "steps: [{name: flapping, during: 1m..1m25s, every: 10s, for: 6s, outage: true}]")
	s := time.Second
	if got, want := fmt.Sprint(outages(t, l, time.Hour)), fmt.Sprint([]window{{60 * s, 66 * s}, {70 * s, 76 * s}, {80 * s, 85 * s}}); got != want {
		t.Errorf("outages = %s, want %s", got, want)
	}
}

// What is drawn stays within its Every and its range, and is the same for the same seed.
func TestRandomFlapping(t *testing.T) {
	const text = "steps: [{name: flapping, during: 10s.., every: 10s, for: 1s..3s, random: true, outage: true}]"
	l := timeline(t, text)
	all := outages(t, l, 10010*time.Second)
	if len(all) != 1000 {
		t.Fatalf("there are %d outages in 1000 times 10s, want 1000", len(all))
	}
	var lasted, late time.Duration
	for i, w := range all {
		begin := 10*time.Second + time.Duration(i)*10*time.Second
		length := w.to - w.from
		if w.from < begin || w.to > begin+10*time.Second || length < time.Second || length > 3*time.Second {
			t.Fatalf("outage %d is %v, want 1s to 3s of %v", i, w, begin)
		}
		lasted += length
		late += w.from - begin
	}
	if mean := lasted / 1000; mean < 1900*time.Millisecond || mean > 2100*time.Millisecond {
		t.Errorf("outages last %v on average, want some 2s", mean)
	}
	if mean := late / 1000; mean < 3800*time.Millisecond || mean > 4200*time.Millisecond {
		t.Errorf("outages begin after %v on average, want some 4s", mean)
	}
	again, err := read(text, 7)
	if err != nil {
		t.Fatal(err)
	}
	if got := outages(t, again, 10010*time.Second); fmt.Sprint(got) != fmt.Sprint(all) {
		t.Error("the same seed gave other outages")
	}
	other, err := read(text, 8)
	if err != nil {
		t.Fatal(err)
	}
	if got := outages(t, other, 10010*time.Second); fmt.Sprint(got) == fmt.Sprint(all) {
		t.Error("another seed gave the same outages")
	}
}

// What steps do together is checked in every combination in which they can meet.
func TestNewRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"down: {delay: 40ms, jitter: 8ms}\nsteps:\n  - {name: near, during: 1s..2s, down: {delay: 5ms}}":                                                                                                     `link.yaml:3:5: step "near": down: jitter: want at most the delay, 5ms, got 8ms`,
		"steps:\n  - {name: a, during: 1s..3s, down: {delay: 40ms}}\n  - {name: b, during: 2s..4s, down: {jitter: 1ms}}":                                                                                     `link.yaml:3:5: step "b": down: jitter: want`,
		"steps:\n  - {name: a, during: 1s..9s, ramp: 1s, down: {delay: 40ms}}\n  - {name: b, during: 2s..4s, down: {jitter: 1ms}}":                                                                           `step "b": down: jitter: want`,
		"steps:\n  - {name: a, during: 1s..9s, every: 2s, for: 1s, down: {delay: 40ms}}\n  - {name: b, during: 2s..4s, down: {jitter: 1ms}}":                                                                 `step "b": down: jitter: want`,
		"up: {delay: 40ms}\nsteps:\n  - {name: a, during: 1s..9s, up: {loss: 100%}}\n  - {name: b, during: 2s..4s, up: {burst: 3}}":                                                                          `step "b": up: burst: want a loss with it, below 100%`,
		"steps: [" + strings.Repeat("{name: x, during: 1s.., outage: true}, ", 2) + "]":                                                                                                                      `step "x" is there twice`,
		"steps: [" + steps(101, "{name: s%d, during: 1s.., outage: true}, ") + "]":                                                                                                                           "want at most 100 steps",
		"steps: [" + steps(9, "{name: s%d, during: 1s.., every: 2s, for: 1s, outage: true}, ") + "]":                                                                                                         "more than 8 steps flap or ramp at once",
		"steps:\n  - {name: a, during: 1s..9s, down: {jitter: 1ms}}\n  - {name: b, during: 1s..9s, down: {delay: 1ms}}\n  - {name: c, during: 1s..10s, every: 2s, for: 1s, down: {jitter: 2ms, delay: 1ms}}": `step "c": down: jitter`,
	} {
		if l, err := read(text, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want an error with %q", text, l, err, want)
		}
	}
	// What one step lacks another that is always there with it may bring.
	timeline(t, "steps:\n  - {name: a, during: 1s..3s, down: {jitter: 1ms}}\n  - {name: b, during: 1s..3s, down: {delay: 10ms}}")
}

func steps(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// Whatever steps are put together: what New takes is possible at every instant, changes
// at the instants that Next gives and at no other, and is the base where no step lasts.
func TestLaws(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, 0))
	conditions := []string{
		"{delay: 200ms}", "{delay: 30ms, jitter: 10ms}", "{jitter: 2ms}", "{loss: 5%}", "{loss: 5%, burst: 4}", "{loss: 100%}", "{burst: 2}",
		"{gemodel: 1%/10%}", "{gemodel: 2%/20%/50%/1%}", "{state: 1%/20%}", "{rate: 1mbit}", "{rate: 100kbit, queue: 1s}", "{limit: 50}", "{queue: 20ms}",
		"{delay: 10ms, jitter: 20ms, distribution: normal}", "{distribution: pareto}", "lte", "dsl", "geo", "{profile: 3g, loss: 2%}", "{delay: 0ms}", "{jitter: 0ms}",
		"{slot: 10ms}", "{slot: 5ms/20ms, slot_packets: 4}", "{slot_delay: 5ms, slot_jitter: 1ms}", "{reorder: 5%}", "{duplicate: 1%}", "{trace: lake.trace}", "{delay_trace: rtt.txt}", "{trace: lake.trace, queue: 300ms}", "{delay_trace: rtt.txt, loss: 1%}", "{corrupt: 1%, ecn: true}",
	}
	taken := 0
	for n := range 600 {
		pick := func() string { return conditions[r.IntN(len(conditions))] }
		var b strings.Builder
		fmt.Fprintf(&b, "down: %s\nup: %s\nsteps:\n", "lte", "{delay: 40ms}")
		for i := range 1 + r.IntN(4) {
			from := r.IntN(10000)
			to := from + 1 + r.IntN(10000)
			fmt.Fprintf(&b, "  - {name: s%d, during: %dms..%dms", i, from, to)
			length := to - from
			if r.IntN(3) == 0 {
				length = 100 + r.IntN(500)
				fmt.Fprintf(&b, ", every: %dms, for: %dms..%dms, random: %v", length+200+r.IntN(300), length, length+100, r.IntN(2) == 0)
			}
			if r.IntN(2) == 0 && min(length, to-from) > 2 {
				fmt.Fprintf(&b, ", ramp: {in: %dms, out: %dms}", 1+r.IntN(min(length, to-from)/2), 1+r.IntN(min(length, to-from)/2))
			}
			switch r.IntN(4) {
			case 0:
				b.WriteString(", outage: true}\n")
			case 1:
				fmt.Fprintf(&b, ", link: %s}\n", pick())
			default:
				fmt.Fprintf(&b, ", down: %s, up: %s}\n", pick(), pick())
			}
		}
		l, err := read(b.String(), uint64(n))
		if err != nil {
			continue
		}
		taken++
		for now, changes := time.Duration(0), 0; ; changes++ {
			next, ok := holds(t, l, now)
			if !ok {
				break
			}
			now = next
			if changes > 5000 {
				t.Fatalf("%s: more changes than there can be", b.String())
			}
		}
		if end := l.At(30 * time.Second); end.Link != l.Base() || len(end.Steps) > 0 {
			t.Fatalf("%s: At(30s) = %+v, want the base again", b.String(), end)
		}
		for range 50 {
			holds(t, l, time.Duration(r.Int64N(int64(21*time.Second))))
		}
	}
	if taken < 150 {
		t.Fatalf("%d of 600 timelines (seed %d) were possible: too few to say anything", taken, seed)
	}
}

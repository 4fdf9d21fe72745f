package verify

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/emulator"
)

// parse reads a spec and resolves it as a link's owner does.
func parse(t testing.TB, spec string) shaping.Conditions {
	t.Helper()
	if spec == "" {
		return shaping.Conditions{}
	}
	c, err := shaping.ParseSpec(spec)
	if err != nil {
		t.Fatal(err)
	}
	c, _ = c.Resolve()
	return c
}

// packet is what a test puts into a link.
type packet struct {
	n    int
	size int // 0 for a probe
	sent time.Duration
}

// through sends a plan through a link that has conditions, by a clock of its own; each
// packet arrives late by some tenths of a millisecond.
func through(c shaping.Conditions, p Plan, seed uint64) (s Samples) {
	e := emulator.New[packet](c, seed)
	late := rand.New(rand.NewPCG(seed, 1))
	came := map[int]bool{}
	take := func(by time.Duration) {
		for d, ok := e.Take(by); ok; d, ok = e.Take(by) {
			at := d.At + time.Duration(late.ExpFloat64()*float64(200*time.Microsecond))
			switch {
			case d.Damaged:
			case d.Payload.size > 0:
				s.Train = append(s.Train, Arrival{at, d.Payload.size})
			case !came[d.Payload.n]:
				came[d.Payload.n] = true
				s.Delays = append(s.Delays, at-d.Payload.sent)
			}
		}
	}
	now := time.Second
	for i := range p.Probes {
		take(now)
		e.Put(now, ProbeSize+etherHeader, false, packet{n: i, sent: now})
		now += p.Every
	}
	s.Sent, s.Over = p.Probes, p.Every*time.Duration(p.Probes-1)
	take(now + p.Wait)
	now += p.Wait
	for i := range p.Train {
		take(now)
		e.Put(now, p.TrainSize+etherHeader, false, packet{n: i, size: p.TrainSize, sent: now})
		now += p.TrainEvery
	}
	s.TrainSent, s.TrainOver = p.Train, p.TrainEvery*time.Duration(p.Train)
	take(math.MaxInt64)
	slices.SortFunc(s.Train, func(a, b Arrival) int { return int(a.At - b.At) })
	return s
}

func judge(asked, is shaping.Conditions, seed uint64) []Row {
	return Judge(Asked{Direction: shaping.Down, Conditions: asked}, through(is, PlanFor(asked), seed))
}

func disagreeing(rows []Row) (what []string) {
	for _, r := range rows {
		if r.Verdict == Disagree {
			what = append(what, r.What)
		}
	}
	return what
}

// A link that does what it was asked is told wrong in less than 1 of 100 runs.
func TestAgreementIsSeldomDenied(t *testing.T) {
	const runs = 150
	for _, spec := range []string{
		"", "delay=20ms", "delay=20ms,loss=2%,rate=20mbit", "loss=0.1%", "loss=30%",
		"delay=40ms,jitter=8ms,loss=0.5%,rate=12mbit", "delay=40ms,jitter=8ms,distribution=paretonormal",
		"delay=100ms,jitter=40ms,distribution=normal,delay_correlation=30%",
		"loss=2%,burst=4", "gemodel=1%/20%/80%/1%", "state=1%/20%/0%/100%/1%", "loss=3%,loss_correlation=50%",
		"delay=10ms,loss=2%,duplicate=5%,corrupt=3%,reorder=5%,rate=5mbit", "rate=280kbit,delay=400ms", "loss=100%",
		"rate=12mbit,cell=53,cell_overhead=5,overhead=20",
	} {
		wrong := 0
		for seed := range uint64(runs) {
			c := parse(t, spec)
			if rows := judge(c, c, seed+1); len(disagreeing(rows)) > 0 {
				wrong++
				t.Logf("%q, seed %d:\n%s", spec, seed+1, Report{Rows: rows}.Text())
			}
		}
		if wrong > 1 {
			t.Errorf("%q: %d of %d runs were denied", spec, wrong, runs)
		}
	}
}

// A link that differs in one thing is found out by that thing's row.
func TestDisagreementIsFound(t *testing.T) {
	const base = "delay=20ms,loss=2%,rate=20mbit"
	for _, x := range []struct{ asked, is, what string }{
		{base, "delay=25ms,loss=2%,rate=20mbit", "delay_p50"},
		{base, "delay=15ms,loss=2%,rate=20mbit", "delay_p50"},
		{base, "loss=2%,rate=20mbit", "delay_p10"},
		{base, "delay=20ms,loss=4%,rate=20mbit", "loss"},
		{base, "delay=20ms,loss=0.5%,rate=20mbit", "loss"},
		{base, "delay=20ms,rate=20mbit", "loss"},
		{base, "delay=20ms,loss=2%,rate=18mbit", "rate"},
		{base, "delay=20ms,loss=2%,rate=22mbit", "rate"},
		{base, "delay=20ms,loss=2%", "rate"},
		{base, base + ",jitter=15ms", "delay_p90"},
		{"", "delay=5ms", "delay_p50"},
		{"", "loss=1%", "loss"},
		{"delay=40ms,jitter=8ms", "delay=40ms", "delay_p10"},
		{"delay=40ms,jitter=8ms", "delay=55ms,jitter=8ms", "delay_p50"},
		{"loss=2%,burst=4", "loss=8%,burst=4", "loss"},
		{"loss=100%", "loss=90%", "loss"},
		{"rate=280kbit,delay=400ms", "rate=252kbit,delay=400ms", "rate"},
	} {
		const runs = 20
		found := 0
		for seed := range uint64(runs) {
			if slices.Contains(disagreeing(judge(parse(t, x.asked), parse(t, x.is), seed+1)), x.what) {
				found++
			}
		}
		if found < runs-1 {
			t.Errorf("asked %q, is %q: %s disagreed in %d of %d runs", x.asked, x.is, x.what, found, runs)
		}
	}
}

func TestWhatCannotBeToldIsUnsure(t *testing.T) {
	for spec, want := range map[string]string{
		"loss=0.01%":           "twice the loss",
		"slot=10ms":            "slots hold",
		"loss=100%":            "no probe came",
		"delay=1s,jitter=1s":   "jitter is slow",
		"loss=80%,rate=1mbit":  "too few packets came",
		"delay=3ms,rate=9gbit": "",
	} {
		c := parse(t, spec)
		if text := (Report{Rows: judge(c, c, 3)}).Text(); !strings.Contains(text, want) {
			t.Errorf("%s:\n%s\nwant %q", spec, text, want)
		}
	}
	// A sender that is too slow does not make the link wrong.
	c := parse(t, "rate=100mbit")
	p := PlanFor(c)
	p.TrainEvery *= 2
	rows := Judge(Asked{Conditions: c}, through(c, p, 1))
	if r := rows[len(rows)-1]; r.Verdict != Unsure || !strings.Contains(r.Why, "could not be sent faster") {
		t.Errorf("rate = %+v, want unsure", r)
	}
	// netem's known trap is no false alarm, and a delay that is missing is one all the same.
	c = parse(t, "delay=20ms,jitter=5ms,rate=10mbit")
	for is, want := range map[string]Verdict{"delay=45ms,rate=10mbit": Unsure, "rate=10mbit": Disagree} {
		rows := Judge(Asked{Conditions: c, PerPacket: true}, through(parse(t, is), PlanFor(c), 1))
		if rows[1].Verdict != want {
			t.Errorf("%s: %+v, want %s", is, rows[1], want)
		}
	}
}

// By its definition the chance to see as many (or as few) at the interval's ends is half
// of alpha.
func TestClopperPearson(t *testing.T) {
	choose := func(n, k int) float64 {
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(k + 1))
		c, _ := math.Lgamma(float64(n - k + 1))
		return a - b - c
	}
	atMost := func(k, n int, p float64) (sum float64) {
		for i := range k + 1 {
			sum += math.Exp(choose(n, i) + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
		}
		return sum
	}
	for _, x := range []struct{ k, n int }{{1, 10}, {4, 200}, {40, 2000}, {600, 2000}, {1999, 2000}} {
		for _, alpha := range []float64{0.05, 0.001} {
			low, high := clopperPearson(float64(x.k), float64(x.n), alpha)
			if got := 1 - atMost(x.k-1, x.n, low); math.Abs(got-alpha/2) > 1e-6 {
				t.Errorf("%d of %d: at %v the chance of as many is %v, want %v", x.k, x.n, low, got, alpha/2)
			}
			if got := atMost(x.k, x.n, high); math.Abs(got-alpha/2) > 1e-6 {
				t.Errorf("%d of %d: at %v the chance of as few is %v, want %v", x.k, x.n, high, got, alpha/2)
			}
		}
	}
	if low, high := clopperPearson(0, 100, 0.05); low != 0 || math.Abs(high-(1-math.Pow(0.025, 0.01))) > 1e-9 {
		t.Errorf("0 of 100: %v to %v", low, high)
	}
	if low, high := clopperPearson(100, 100, 0.05); high != 1 || math.Abs(low-math.Pow(0.025, 0.01)) > 1e-9 {
		t.Errorf("100 of 100: %v to %v", low, high)
	}
}

// The inflation of a count of losses with a memory is what its variance really is.
func TestInflation(t *testing.T) {
	for _, spec := range []string{"loss=5%", "loss=5%,burst=4", "gemodel=2%/30%/80%/1%", "state=2%/20%/0%/100%/1%", "loss=5%,loss_correlation=40%"} {
		c := parse(t, spec)
		share, inflation := lossOf(c)
		const runs, n = 600, 1000
		var sum, squares float64
		for seed := range uint64(runs) {
			e := emulator.New[int](c, seed+1)
			lost := 0.0
			for i := range n {
				lost += float64(1 - e.Put(time.Duration(i)*time.Millisecond, 100, false, i))
				e.Take(math.MaxInt64)
			}
			sum += lost
			squares += lost * lost
		}
		mean := sum / runs
		variance := squares/runs - mean*mean
		if got := variance / (n * share * (1 - share)); math.Abs(mean/n-share) > 0.05*share || math.Abs(got-inflation) > 0.2*inflation {
			t.Errorf("%s: share %.4f, inflation %.2f; want %.4f, %.2f", spec, mean/n, got, share, inflation)
		}
	}
}

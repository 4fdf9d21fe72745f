package gate

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// synthetic is a machine with a known overhead: added to the latency, factor on
// the throughput, and lognormal noise of sigma on every figure of every block.
type synthetic struct {
	rng     *rand.Rand
	sigma   float64
	added   time.Duration
	factor  float64
	drift   float64 // the machine gets slower by this part with every block
	cpu     time.Duration
	noCPU   string
	errors  int
	empty   int // every empty-th block has no answer
	blocks  int
	renewed int     // how often its processes were replaced
	same    bool    // both sides are the direct way
	tax     float64 // the proxied side takes this part more CPU time and latency
	aCPU    time.Duration
}

func (s *synthetic) sample(_ context.Context, at side) (block, error) {
	s.blocks++
	noise := func() float64 { return math.Exp(s.sigma * s.rng.NormFloat64()) }
	slower := 1 + s.drift*float64(s.blocks)
	b := block{
		P50:        time.Duration(200e3 * noise() * slower),
		P99:        time.Duration(900e3 * noise() * slower),
		Throughput: 30_000 * noise() / slower,
		Requests:   1000, NoCPU: "no proxy on the direct way",
	}
	if s.empty > 0 && s.blocks%s.empty == 0 {
		return block{Empty: true, NoCPU: b.NoCPU}, nil
	}
	b.P999 = 2 * b.P99
	if s.aCPU > 0 {
		b.CPU, b.NoCPU = time.Duration(float64(s.aCPU)*noise()*slower), ""
	}
	if at == proxied && !s.same {
		b.P50 = time.Duration(float64(b.P50) * (1 + s.tax))
		if s.aCPU > 0 {
			b.CPU = time.Duration(float64(b.CPU) * (1 + s.tax))
			return b, nil
		}
		b.P50 += s.added
		b.P99 += s.added
		b.Throughput *= s.factor
		b.CPU, b.NoCPU = time.Duration(float64(s.cpu)*noise()), s.noCPU
		b.Errors, b.FirstError = s.errors, "answer with status 502"
	}
	return b, nil
}

func (s *synthetic) renew(_ context.Context, other side) error {
	s.renewed++
	s.same = other == direct
	return nil
}

func limits(p50, p99, cpu time.Duration, ratio float64) *Budget {
	return &Budget{Scenarios: map[string]ScenarioBudget{"s": {Limits: Limits{
		"added_p50": {Value: float64(p50)}, "added_p99": {Value: float64(p99)},
		"cpu_per_request": {Value: float64(cpu)}, "throughput_ratio": {Value: ratio}}}}}
}

func measured(t *testing.T, s *synthetic, b *Budget) *ScenarioReport {
	t.Helper()
	o, err := Options{Budget: b, Seed: 7, Scenarios: []Scenario{{Name: "s", Start: Direct}}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if s.factor == 0 {
		s.factor = 1
	}
	if s.cpu == 0 {
		s.cpu = 50 * time.Microsecond
	}
	sr, err := measure(t.Context(), subject{name: "s", title: "s", connections: 16}, s, o)
	if err != nil {
		t.Fatal(err)
	}
	return sr
}

func metric(t *testing.T, sr *ScenarioReport, name string) Metric {
	t.Helper()
	for _, m := range sr.Metrics {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no metric %s", name)
	return Metric{}
}

func TestVerdicts(t *testing.T) {
	budget := func() *Budget { return limits(150*time.Microsecond, 500*time.Microsecond, 100*time.Microsecond, 0.7) }
	tests := []struct {
		name    string
		machine synthetic
		want    Verdict
		metric  string // whose verdict is want
	}{
		{"noise alone", synthetic{sigma: 0.05}, Pass, "added_p50"},
		{"within the budget", synthetic{sigma: 0.05, added: 80 * time.Microsecond, factor: 0.85}, Pass, "throughput_ratio"},
		{"twice as slow", synthetic{sigma: 0.05, added: 200 * time.Microsecond, factor: 0.5}, Fail, "throughput_ratio"},
		{"latency alone", synthetic{sigma: 0.05, added: 300 * time.Microsecond}, Fail, "added_p50"},
		{"hungry", synthetic{sigma: 0.05, cpu: 300 * time.Microsecond}, Fail, "cpu_per_request"},
		{"a drifting machine", synthetic{sigma: 0.02, drift: 0.02, added: 50 * time.Microsecond}, Pass, "throughput_ratio"},
		{"huge noise", synthetic{sigma: 1.5, added: 100 * time.Microsecond, factor: 0.8}, Inconclusive, "throughput_ratio"},
		{"CPU unknown", synthetic{sigma: 0.05, noCPU: "unknown"}, Inconclusive, "cpu_per_request"},
		{"a block without an answer now and then", synthetic{sigma: 0.05, empty: 7}, Pass, "added_p50"},
		{"no answers", synthetic{sigma: 0.05, empty: 1}, Inconclusive, "added_p50"},
		{"broken", synthetic{sigma: 0.05, errors: 3}, Fail, "errors"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// Several seeds: a verdict that hangs on one is none.
			for seed := range uint64(5) {
				m := tt.machine
				m.rng = rand.New(rand.NewPCG(seed, 1))
				sr := measured(t, &m, budget())
				if sr.Verdict != tt.want || metric(t, sr, tt.metric).Verdict != tt.want {
					t.Errorf("verdict(seed=%d) = %s, %s %+v, want %s", seed, sr.Verdict, tt.metric, metric(t, sr, tt.metric), tt.want)
				}
			}
		})
	}
}

func TestKnownOverheadLiesInItsInterval(t *testing.T) {
	inside := 0
	for seed := range uint64(40) {
		s := &synthetic{rng: rand.New(rand.NewPCG(seed, 2)), sigma: 0.1, added: 120 * time.Microsecond, factor: 0.6}
		m := metric(t, measured(t, s, nil), "throughput_ratio")
		if m.Low <= 0.6 && 0.6 <= m.High {
			inside++
		}
	}
	// 38 of 40 are expected of a 95 % interval; 8 pairs make it a little narrow.
	if inside < 32 {
		t.Errorf("the true ratio lay in %d of 40 intervals, want about 38", inside)
	}
}

func TestPairsDoubleUntilTheCap(t *testing.T) {
	budget := limits(time.Second, time.Second, time.Second, 0.8)
	loud := &synthetic{rng: rand.New(rand.NewPCG(1, 1)), sigma: 1.5, factor: 0.8}
	if sr := measured(t, loud, budget); sr.Pairs != 32 || loud.blocks != 2*(4+32) || loud.renewed != 4*(1+4) {
		t.Errorf("inconclusive: %d pairs, %d blocks, %d renewals, want 32, 72 and 20", sr.Pairs, loud.blocks, loud.renewed)
	} else if len(sr.Warnings) == 0 || !strings.Contains(sr.Warnings[0], "noise") {
		t.Errorf("warnings = %q, want one of the noise", sr.Warnings)
	}
	quiet := &synthetic{rng: rand.New(rand.NewPCG(1, 1)), sigma: 0.01}
	if sr := measured(t, quiet, budget); sr.Pairs != 8 || len(sr.Warnings) != 0 {
		t.Errorf("clear: %d pairs, warnings %q, want 8 and none", sr.Pairs, sr.Warnings)
	}
	// More pairs cannot bring a CPU time that nobody can read.
	blind := &synthetic{rng: rand.New(rand.NewPCG(1, 1)), sigma: 0.01, noCPU: "unknown"}
	if sr := measured(t, blind, budget); sr.Pairs != 8 {
		t.Errorf("unmeasured: %d pairs, want 8", sr.Pairs)
	}
}

func TestPairsAreInterleaved(t *testing.T) {
	var order []side
	_, err := takePairs(t.Context(), sampleFunc(func(s side) block { order = append(order, s); return block{} }), 4, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []side{direct, proxied, proxied, direct, direct, proxied, proxied, direct}
	for i := range want {
		if order[i] != want[i] {
			t.Fatalf("order = %v, want %v", order, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := takePairs(ctx, sampleFunc(func(side) block { return block{} }), 4, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("takePairs after cancel = %v", err)
	}
}

type sampleFunc func(side) block

func (f sampleFunc) renew(context.Context, side) error               { return nil }
func (f sampleFunc) sample(_ context.Context, s side) (block, error) { return f(s), nil }

func TestExitCodes(t *testing.T) {
	for v, want := range map[Verdict]int{Pass: 0, NotJudged: 0, Fail: 99, Inconclusive: 97} {
		if got := ExitCode(v); got != want {
			t.Errorf("ExitCode(%q) = %d, want %d", v, got, want)
		}
	}
	for want, vs := range map[Verdict][]Verdict{
		Fail: {Pass, Inconclusive, NotJudged, Fail}, Inconclusive: {Pass, Inconclusive}, Pass: {NotJudged, Pass}, NotJudged: {NotJudged, NotJudged},
	} {
		if got := worst(vs); got != want {
			t.Errorf("worst(%q) = %s, want %s", vs, got, want)
		}
	}
	if got := worst(nil); got != NotJudged {
		t.Errorf("worst of nothing = %s, want not judged", got)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	ok := []Scenario{{Name: "s", Start: Direct}}
	for name, o := range map[string]Options{
		"no scenario":   {},
		"twice":         {Scenarios: []Scenario{ok[0], ok[0]}},
		"no start":      {Scenarios: []Scenario{{Name: "s"}}},
		"level":         {Scenarios: ok, Level: 95},
		"negative rate": {Scenarios: ok, Rate: -1},
		"other budget":  {Scenarios: ok, Budget: &Budget{Scenarios: map[string]ScenarioBudget{"t": {}}}},
		"connections":   {Scenarios: ok, Connections: []int{4, 0}},
	} {
		if _, err := Run(t.Context(), o); err == nil {
			t.Errorf("Run with %s: no error", name)
		}
	}
}

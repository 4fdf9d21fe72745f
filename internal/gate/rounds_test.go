package gate

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// growing is a program whose processes hold more with every load: they have not found the
// size of their heap yet. Each is a little larger or smaller from birth, by odd and even.
type growing struct {
	mu    sync.Mutex
	born  int
	loads map[string]int
	order []string // the sides, as their processes were started
}

func (g *growing) start(side string, more int) Start {
	return func(context.Context, *Upstream, bool) (Endpoint, func() error, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.born++
		g.order = append(g.order, side)
		return Endpoint{URL: fmt.Sprintf("http://%d.%d.test/", g.born, more), PID: 1}, func() error { return nil }, nil
	}
}

func (g *growing) load(_ context.Context, o LoadOptions) (LoadResult, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.loads[o.URL]++
	var born, more int
	_, _ = fmt.Sscanf(o.URL, "http://%d.%d.test/", &born, &more)
	r := LoadResult{Requests: 1000, Elapsed: o.Duration, CPU: time.Second}
	r.RSS = int64(20_000_000 + 10_000*(born%3) + 500_000*g.loads[o.URL] + more)
	r.Latency.P50, r.Latency.P99 = time.Millisecond, 2*time.Millisecond
	return r, nil
}

// What a process holds depends on how long it has been loaded. Both sides are as old at
// every pair, so equals are equal; and an interval that is drawn from one process of each
// would say more than is known.
func TestMemoryOfEquals(t *testing.T) {
	for _, together := range []bool{false, true} {
		for _, more := range []int{0, 2_000_000} {
			g := &growing{loads: map[string]int{}}
			r, err := Run(t.Context(), Options{
				Scenarios: []Scenario{{Name: "s", Start: g.start("new", more), Against: g.start("old", 0)}},
				Against:   AgainstBaseline, Together: together, Connections: []int{4}, Block: 100 * time.Millisecond, Pairs: 24, MaxPairs: 24,
				Load: g.load, Other: g.load, Upstream: NoUpstream,
			})
			if err != nil {
				t.Fatal(err)
			}
			m := metric(t, &r.Scenarios[0], "rss_ratio")
			if equal := m.Low <= 1 && 1 <= m.High; equal != (more == 0) || more > 0 && m.Low < 1.03 {
				t.Errorf("together %v, %d bytes more: rss_ratio = %.3f [%.3f, %.3f]", together, more, m.Estimate, m.Low, m.High)
			}
			if m.Low != slices.Min(m.Pairs) || m.High != slices.Max(m.Pairs) {
				t.Errorf("together %v: rss_ratio in [%v, %v] of %v, want the extremes of so few", together, m.Low, m.High, m.Pairs)
			}
			if len(m.Pairs) != leastRounds {
				t.Errorf("together %v: rss_ratio has %d figures, want one for each of %d pairs of processes", together, len(m.Pairs), leastRounds)
			}
			aa := noiseOf(t, &r.Scenarios[0], "rss")
			if aa.Low > 1 || aa.High < 1 {
				t.Errorf("together %v: A/A of rss = %+v, want 1 within", together, aa)
			}
			first := map[string]int{}
			for i := 0; i < len(g.order); i += 2 {
				first[g.order[i]]++
			}
			if first["old"] == 0 || first["new"] == 0 {
				t.Errorf("together %v: started in the order %v, want each side first at times", together, g.order)
			}
		}
	}
}

func noiseOf(t *testing.T, sr *ScenarioReport, name string) Noise {
	t.Helper()
	for _, n := range sr.Noise {
		if n.Name == name {
			return n
		}
	}
	t.Fatalf("no A/A of %s in %+v", name, sr.Noise)
	return Noise{}
}

// A machine that is busy may let a warm-up pass without an answer. It is warmed up again,
// as nothing has been measured yet; what never answers is told.
func TestWarmUpWithoutAnAnswer(t *testing.T) {
	for _, tt := range []struct {
		silent int
		want   string
	}{{warmUps - 1, ""}, {warmUps, "warm-up, proxied: http://proxy.test: want answers with 2xx, got nothing within 200ms, 5 times\nhint: a longer --block waits longer"}} {
		warmedUp := 0
		load := func(_ context.Context, o LoadOptions) (LoadResult, error) {
			r := LoadResult{Requests: 1000, Elapsed: o.Duration, NoCPU: "synthetic"}
			r.Latency.P50, r.Latency.P99 = time.Millisecond, time.Millisecond
			if o.URL == "http://proxy.test" && o.Duration == leastWarmUp {
				if warmedUp++; warmedUp <= tt.silent {
					return LoadResult{Elapsed: o.Duration}, nil
				}
			}
			return r, nil
		}
		start := func(context.Context, *Upstream, bool) (Endpoint, func() error, error) {
			return Endpoint{URL: "http://proxy.test"}, func() error { return nil }, nil
		}
		_, err := Run(t.Context(), Options{Scenarios: []Scenario{{Name: "s", Start: start}}, Block: 20 * time.Millisecond, Pairs: 4, MaxPairs: 4, Load: load, Upstream: NoUpstream})
		if got := fmt.Sprint(err); tt.want == "" && err != nil || tt.want != "" && got != "scenario s: "+tt.want {
			t.Errorf("%d silent warm-ups: %v, want %q", tt.silent, err, tt.want)
		}
	}
}

// Later looks go on where the earlier ended: their processes are others, and who is first
// goes on by turns, however few pairs a look takes.
func TestRoundsGoOn(t *testing.T) {
	var order []side
	s := sampleFunc(func(s side) block { order = append(order, s); return block{} })
	var pairs []pair
	for range 4 {
		more, err := takeRounds(t.Context(), s, 1, len(pairs), proxied)
		if err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, more...)
	}
	if got := len(rounds(pairs)); got != 4 {
		t.Errorf("%d figures of 4 pairs of processes, want 4", got)
	}
	if want := []side{direct, proxied, proxied, direct, direct, proxied, proxied, direct}; !slices.Equal(order, want) {
		t.Errorf("order = %v, want %v", order, want)
	}
}

package gate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// judged runs a comparison with a baseline as --ci does, on a machine with noise
// of sigma, where the candidate takes tax more.
func judged(t *testing.T, seed uint64, sigma, tax float64) *ScenarioReport {
	t.Helper()
	o, err := Options{
		Against: AgainstBaseline, Level: 0.99, MaxPairs: 64, Seed: 7, Scenarios: []Scenario{{Name: "s", Start: Direct}},
		Budget: &Budget{Regression: Limits{"cpu_ratio": {Value: 1.05}, "p50_ratio": {Value: 1.05}}},
	}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	m := &synthetic{rng: rand.New(rand.NewPCG(seed, 3)), sigma: sigma, tax: tax, aCPU: 50 * time.Microsecond, factor: 1, drift: 0.001}
	sr, err := measure(t.Context(), subject{name: "s", title: "s", connections: 16}, m, o)
	if err != nil {
		t.Fatal(err)
	}
	return sr
}

// A regression of ten per cent is caught, and noise is not taken for one. Where
// the machine is too loud to tell, no run claims what it cannot know.
func TestTenPerCentIsCaughtAndNoiseIsNot(t *testing.T) {
	for _, tt := range []struct {
		sigma, tax  float64
		runs, least int // least of them with want
		want, never Verdict
	}{
		{0.02, 0, 50, 50, Pass, Fail},
		{0.02, 0.10, 50, 50, Fail, Pass},
		{0.05, 0, 12, 7, Pass, Fail},
		{0.05, 0.10, 12, 10, Fail, Pass},
		{0.6, 0, 5, 4, Inconclusive, Fail},
		{0.6, 0.10, 5, 4, Inconclusive, Pass},
	} {
		t.Run(fmt.Sprintf("noise %g, tax %g", tt.sigma, tt.tax), func(t *testing.T) {
			t.Parallel()
			got := map[Verdict]int{}
			for seed := range uint64(tt.runs) {
				got[judged(t, seed, tt.sigma, tt.tax).Verdict]++
			}
			if got[tt.want] < tt.least || got[tt.never] > 0 {
				t.Errorf("%d runs = %v, want %s in at least %d and never %s", tt.runs, got, tt.want, tt.least, tt.never)
			}
			t.Logf("%d runs: %v", tt.runs, got)
		})
	}
}

func TestAgainstABaseline(t *testing.T) {
	sr := judged(t, 1, 0.02, 0)
	for _, name := range []string{"cpu_ratio", "p50_ratio", "p99_ratio", "cpu_per_request"} {
		if m := metric(t, sr, name); !m.Measured || len(m.Pairs) != sr.Pairs {
			t.Errorf("%s = %+v, want a figure with its pairs", name, m)
		}
	}
	for _, m := range sr.Metrics {
		if m.Name == "added_p50" {
			t.Errorf("a baseline adds nothing: %+v", m)
		}
	}
	found := false
	for _, n := range sr.Noise {
		found = found || n.Name == "cpu"
	}
	if !found {
		t.Errorf("noise = %+v, want one of the CPU time", sr.Noise)
	}
}

// Allocations are counted on instances of their own, less what connecting and counting
// cost, however few requests share it.
func TestAllocationsAreCounted(t *testing.T) {
	const perRequest, perConnection, perReading = 7, 60, 5000
	var total uint64
	load := func(_ context.Context, o LoadOptions) (LoadResult, error) {
		r := LoadResult{Requests: int(o.Duration.Milliseconds()), Outside: 10, Elapsed: o.Duration, NoCPU: "synthetic"}
		total += uint64(perRequest*(r.Requests+r.Outside) + perConnection*o.Connections)
		r.Latency.P50, r.Latency.P99 = time.Millisecond, time.Millisecond
		return r, nil
	}
	counted := 0
	start := func(_ context.Context, _ *Upstream, counting bool) (Endpoint, func() error, error) {
		at := Endpoint{URL: "http://proxy.test", PID: 1}
		if counting {
			counted++
			at.Mallocs = func(context.Context) (uint64, error) { total += perReading; return total, nil }
		}
		return at, func() error { return nil }, nil
	}
	r, err := Run(t.Context(), Options{
		Scenarios: []Scenario{{Name: "s", Start: start, Against: start, Counts: true}}, Against: AgainstBaseline,
		Connections: []int{1, 2}, Block: time.Second, Pairs: 4, Load: load, Upstream: NoUpstream,
		Budget: &Budget{Regression: Limits{"allocs_ratio": {Value: 1.01}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if counted != 4 || len(r.Scenarios) != 2 || r.Scenarios[1].Connections != 2 || r.Verdict != Pass {
		t.Errorf("%d instances, report %+v, want 4 and a pass for 1 and 2 connections", counted, r)
	}
	m := metric(t, &r.Scenarios[0], "allocs_per_request")
	if m.Estimate != perRequest || m.Low != perRequest || m.High != perRequest {
		t.Errorf("allocs_per_request = %+v, want 7", m)
	}
	if m := metric(t, &r.Scenarios[0], "cpu_per_request"); m.Measured || m.Note != "not measured: synthetic" {
		t.Errorf("cpu_per_request = %+v, want its reason", m)
	}
}

// Counts of equals vary on both sides. Where one side's all lie beyond the other's by
// chance, once in 126 times, the interval is without 1.
func TestAllocationsOfEquals(t *testing.T) {
	var f figure
	for _, f = range figures {
		if f.name == "allocs_ratio" {
			break
		}
	}
	const runs = 1000
	apart := 0
	for seed := range uint64(runs) {
		rng := rand.New(rand.NewPCG(seed, 4))
		var what subject
		for side := range what.allocs {
			for range countedBlocks {
				what.allocs[side] = append(what.allocs[side], 1+0.1*rng.NormFloat64())
			}
		}
		m := Metric{Name: f.name}
		if err := f.measure(&m, what, nil, Options{}); err != nil {
			t.Fatal(err)
		}
		if m.Low > 1 || m.High < 1 {
			apart++
		}
	}
	if apart > runs/50 {
		t.Errorf("%d of %d intervals are without 1, want about %d", apart, runs, runs/126)
	}
}

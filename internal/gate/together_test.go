package gate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// bench is a machine of known speed for two loads that must be under way at once.
type bench struct {
	mu    sync.Mutex
	meet  chan LoadOptions // from the load that waits for the other
	rates map[string][]float64
	by    map[string]map[string]int // how often each load drove each URL
}

// load takes 50 µs of CPU time a request, 5 more for the candidate's URL, slower more in this loader.
func (b *bench) load(name string, slower time.Duration) Loader {
	return func(ctx context.Context, o LoadOptions) (LoadResult, error) {
		b.mu.Lock()
		b.rates[o.URL] = append(b.rates[o.URL], o.Rate)
		if b.by[name] == nil {
			b.by[name] = map[string]int{}
		}
		if o.Rate > 0 {
			b.by[name][strings.TrimRight(o.URL, "0123456789")]++
		}
		b.mu.Unlock()
		if o.Rate > 0 { // not in the warm-up: there one side runs alone
			select {
			case b.meet <- o:
			case other := <-b.meet:
				if other.URL == o.URL {
					return LoadResult{}, fmt.Errorf("both loads drive %s", o.URL)
				}
			case <-ctx.Done():
				return LoadResult{}, ctx.Err()
			}
		}
		cpu := 50*time.Microsecond + slower
		if strings.HasPrefix(o.URL, "http://new.test/") {
			cpu += 5 * time.Microsecond
		}
		r := LoadResult{Requests: 1000, Elapsed: o.Duration, CPU: 1000 * cpu}
		r.Latency.P50, r.Latency.P99 = time.Millisecond, 2*time.Millisecond
		return r, nil
	}
}

// Both sides are loaded at once, at the same rate, by loads that change places; the A/A
// check has two processes of the baseline; and what differs comes out.
func TestTogether(t *testing.T) {
	b := &bench{meet: make(chan LoadOptions), rates: map[string][]float64{}, by: map[string]map[string]int{}}
	running, started := 0, 0
	way := func(name string) Start {
		return func(context.Context, *Upstream, bool) (Endpoint, func() error, error) {
			running++
			started++
			return Endpoint{URL: fmt.Sprintf("http://%s.test/%d", name, started), PID: 1}, func() error { running--; return nil }, nil
		}
	}
	r, err := Run(t.Context(), Options{
		Scenarios: []Scenario{{Name: "s", Start: way("new"), Against: way("old")}}, Against: AgainstBaseline, Together: true,
		Connections: []int{4}, Block: 100 * time.Millisecond, Pairs: 8, MaxPairs: 8,
		Load: b.load("one", 0), Other: b.load("other", 20*time.Microsecond), Upstream: NoUpstream,
		Budget: &Budget{Regression: Limits{"cpu_ratio": {Value: 1.05}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	// 55 over 70 µs and 75 over 50 by turns: the loads' own difference lies on both sides.
	if m := metric(t, &r.Scenarios[0], "cpu_ratio"); m.Estimate < 1.02 || m.Estimate > 1.12 || len(m.Pairs) != 8 {
		t.Errorf("cpu_ratio = %+v, want about 1.07 of 8 pairs", m)
	}
	if m := metric(t, &r.Scenarios[0], "throughput_ratio"); m.Measured {
		t.Errorf("throughput_ratio = %+v, want none: both get what they ask for", m)
	}
	if want := 2 + 2*4 + 2*4; running != 0 || started != want { // to choose the rate, for the A/A check, for the pairs
		t.Errorf("%d processes were started and %d are left, want %d and none", started, running, want)
	}
	for name, by := range b.by {
		if by["http://new.test/"] != 4 || by["http://old.test/"] != 4+4 {
			t.Errorf("load %s drove %v, want half of the pairs of each side", name, by)
		}
	}
	want := togetherShare * 1000 / leastWarmUp.Seconds() // of what the warm-up did in its closed loop
	for url, rates := range b.rates {
		for _, rate := range rates {
			if rate != 0 && (rate < 0.999*want || rate > 1.001*want) {
				t.Errorf("%s was asked at %v, want %v", url, rate, want)
			}
		}
	}
}

func TestTogetherIsForABaseline(t *testing.T) {
	_, err := Run(t.Context(), Options{Scenarios: []Scenario{{Name: "s", Start: Direct}}, Together: true})
	if err == nil {
		t.Error("together with going direct: want an error")
	}
}

package station

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

// What is fitted to loads of 30, 55 and 75 % holds at others.
func TestFitHoldsAtLoadsNeverRecorded(t *testing.T) {
	t.Parallel()
	most := [6]float64{.05, .10, .20, .40, .12, .12}
	for _, tr := range truths {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			v := tr.record(2, 15*time.Second, .3, .55, .75)
			r := Fit(v, 1)
			if r.Quality == ByLoad {
				t.Fatalf("no station in force: %s", r.Why)
			}
			if math.Abs(r.Capacity/tr.capacity-1) > 0.15 {
				t.Errorf("capacity %.0f, want about %.0f", r.Capacity, tr.capacity)
			}
			want := judge(tr.answer, tr.capacity, 1, 20*time.Second)
			got := judge(model(r, v, 1), tr.capacity, 2, 20*time.Second)
			off := got.off(&want)
			t.Logf("%+v, score %.3f, identified %.1f; off %.2f", r.Station, r.Score, r.Identified, off)
			for k, name := range []string{"p50 at light loads", "p95 at light loads", "p99 at light loads", "p95 at 0.85", "rate of 64 users", "knee"} {
				if off[k] > most[k] {
					t.Errorf("%s is off by %.0f %%, want at most %.0f %%", name, 100*off[k], 100*most[k])
				}
			}
		})
	}
}

// A recording that never went beyond 40 % of capacity cannot tell it.
func TestFitRefusesLightRecordings(t *testing.T) {
	t.Parallel()
	runs, length := uint64(1), 10*time.Second
	if os.Getenv("STATION_TABLE") != "" {
		runs, length = 16, time.Minute
	}
	for _, tr := range truths {
		for seed := range runs {
			r := Fit(tr.record(200+seed, length, .1, .25, .4), seed)
			if r.Quality != ByLoad || r.Capacity != 0 || r.Station.Servers != 0 || !strings.Contains(r.Why, "; record at ") {
				t.Errorf("%s, seed %d: %+v, want none in force, and what to record", tr.name, seed, r)
			}
		}
	}
}

// STATION_TABLE=1 prints what a fit makes of loads that were never recorded, for docs. It
// takes minutes.
func TestTable(t *testing.T) {
	if os.Getenv("STATION_TABLE") == "" {
		t.Skip("set STATION_TABLE=1 for the table: it takes minutes")
	}
	const runs = 8
	for _, tr := range truths {
		var floor, fitted, naive [6]float64
		inForce, floors := 0.0, 0.0
		add := func(sum *[6]float64, off [6]float64) {
			for k := range off {
				sum[k] += 100 * off[k]
			}
		}
		for seed := range uint64(runs) {
			v := tr.record(seed, time.Minute, .3, .55, .75)
			began := time.Now()
			r := Fit(v, seed)
			t.Logf("%s: %v, %s, score %.3f, identified %.1f, %+v, capacity %.0f of %.0f; %s", tr.name, time.Since(began).Round(time.Millisecond), r.Quality, r.Score, r.Identified, r.Best, r.Capacity, tr.capacity, r.Why)
			want := judge(tr.answer, tr.capacity, 1000+seed, 2*time.Minute)
			other := judge(tr.answer, tr.capacity, 2000+seed, 2*time.Minute)
			copied := judge(model(Result{Quality: Good}, v, seed), tr.capacity, 4000+seed, 2*time.Minute)
			add(&floor, other.off(&want))
			add(&naive, copied.off(&want))
			if floors++; r.Quality != ByLoad {
				inForce++
				got := judge(model(r, v, seed), tr.capacity, 3000+seed, 2*time.Minute)
				add(&fitted, got.off(&want))
			}
		}
		row := func(method string, s [6]float64, n float64) {
			t.Logf("| %s | %s | %.0f/%.0f/%.0f | %.0f | %.0f | %.0f |", tr.name, method, s[0]/n, s[1]/n, s[2]/n, s[3]/n, s[4]/n, s[5]/n)
		}
		t.Logf("%s: in force in %.0f of %d", tr.name, inForce, runs)
		row("floor", floor, floors)
		row("this fit", fitted, inForce)
		row("naive replay of recorded latencies", naive, floors)
	}
}

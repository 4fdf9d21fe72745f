package station

import (
	"os"
	"testing"
	"time"
)

// STATION_TABLE=1 prints what a fit makes of loads that were never recorded, for docs. It
// takes minutes.
func TestTable(t *testing.T) {
	if os.Getenv("STATION_TABLE") == "" {
		t.Skip("set STATION_TABLE=1 for the table: it takes minutes")
	}
	const runs = 6
	for _, tr := range truths {
		sum := map[string][6]float64{}
		add := func(name string, off [6]float64) {
			s := sum[name]
			for k := range s {
				s[k] += off[k] / runs
			}
			sum[name] = s
		}
		for seed := range uint64(runs) {
			v := tr.record(seed, time.Minute, .3, .55, .75)
			began := time.Now()
			r := Fit(v, seed)
			t.Logf("%s: %v, %s, score %.3f, identified %.1f, %+v, capacity %.0f of %.0f", tr.name, time.Since(began).Round(time.Millisecond), r.Quality, r.Score, r.Identified, r.Best, r.Capacity, tr.capacity)
			want := judge(tr.answer, tr.capacity, 1000+seed, 2*time.Minute)
			other := judge(tr.answer, tr.capacity, 2000+seed, 2*time.Minute)
			got := judge(model(r, v, seed), tr.capacity, 3000+seed, 2*time.Minute)
			naive := judge(model(Result{Quality: Good}, v, seed), tr.capacity, 4000+seed, 2*time.Minute)
			add("floor", other.off(&want))
			add("fit", got.off(&want))
			add("naive", naive.off(&want))
		}
		for _, name := range []string{"floor", "fit", "naive"} {
			s := sum[name]
			t.Logf("| %s | %s | %.0f/%.0f/%.0f | %.0f | %.0f | %.0f |", tr.name, name, 100*s[0], 100*s[1], 100*s[2], 100*s[3], 100*s[4], 100*s[5])
		}
	}
}

func TestRefuse(t *testing.T) {
	for _, tr := range truths {
		for seed := range uint64(8) {
			r := fit(newRecord(tr.record(100+seed, time.Minute, .1, .25, .4)), seed)
			g := fit(newRecord(tr.record(100+seed, time.Minute, .3, .55, .75)), seed)
			t.Logf("%s: low %.2f rival %.2f (%.0f); high %.2f rival %.2f (%.0f) score %.3f", tr.name, r.naive/r.score, r.rival.score, r.rival.capacity, g.naive/g.score, g.rival.score, g.rival.capacity, g.score)
		}
	}
}

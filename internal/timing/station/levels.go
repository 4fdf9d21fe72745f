package station

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

const (
	mostLevels = 3
	// windows is into how many stretches of equally many visits a recording is cut to
	// find its levels, where windowVisits allows.
	windows      = 48
	windowVisits = 20
	// apart is by what factor levels of load differ at least.
	apart = 1.15
)

// window is a stretch of a record, from one visit to before another.
type window struct {
	from, to int
	rate     float64 // arrivals a second
	inFlight float64 // mean over time
	spread   float64 // of the number in flight over time: variance / mean
	level    int8
}

// cut cuts a record in windows. Of each the longest pause between two arrivals is left out
// of account: recordings that were put together have long ones.
func (r *record) cut() []window {
	n := len(r.visits)
	size := max((n+windows-1)/windows, windowVisits)
	var ws []window
	gone, there := 0, 0.0
	for from := 0; from < n; from += size {
		to := min(from+size, n)
		if n-to < size/2 {
			to = n
		}
		var total, longest [3]float64 // seconds, and the number in flight and its square, times seconds
		for i := from; i < to; i++ {
			there++
			now := r.visits[i].At
			until := now
			if i+1 < n {
				until = r.visits[i+1].At
			}
			var gap [3]float64
			for {
				next := until
				left := gone < n && r.visits[r.byEnd[gone]].End <= until
				if left {
					next = max(r.visits[r.byEnd[gone]].End, now)
				}
				dt := (next - now).Seconds()
				gap[0] += dt
				gap[1] += dt * there
				gap[2] += dt * there * there
				now = next
				if !left {
					break
				}
				gone++
				there--
			}
			for k := range gap {
				total[k] += gap[k]
			}
			if gap[0] > longest[0] {
				longest = gap
			}
		}
		w := window{from: from, to: to}
		if dt := total[0] - longest[0]; dt > 0 {
			w.rate = float64(to-from-1) / dt
			if w.inFlight = (total[1] - longest[1]) / dt; w.inFlight > 0 {
				w.spread = ((total[2]-longest[2])/dt - w.inFlight*w.inFlight) / w.inFlight
			}
		}
		ws = append(ws, w)
		if to == n {
			break
		}
	}
	return ws
}

// isClosed reports whether r's clients wait for answers before they ask again, and most of
// their time: its connections carry one visit at a time, the number in flight is about
// constant, and how long a client pauses does not make up for how long it waited.
func (r *record) isClosed(ws []window) bool {
	last := map[uint64]int{}
	known, overlap, again := 0, 0, 0
	var latencies, thinks []float64
	for i := range r.visits {
		v := &r.visits[i]
		if v.Source == 0 {
			continue
		}
		known++
		if before, ok := last[v.Source]; ok {
			again++
			b := &r.visits[before]
			if v.At < b.End {
				overlap++
			} else if len(latencies) < sampled {
				latencies = append(latencies, float64(b.latency()))
				thinks = append(thinks, float64(v.At-b.End))
			}
		}
		last[v.Source] = i
	}
	if 100*known < 99*len(r.visits) || 2*again < known || 50*overlap > again {
		return false
	}
	var spreads []float64
	for _, w := range ws {
		spreads = append(spreads, w.spread)
	}
	slices.Sort(spreads)
	return len(spreads) > 0 && spreads[len(spreads)/2] < 0.5 && rankCorrelation(latencies, thinks) > -0.5
}

// sortLevels gives windows their levels, from the lightest load, 0, up. It returns how many
// there are, and whether loads differ; where they hardly do, levels are thirds of time.
func sortLevels(ws []window, load func(w *window) float64) (levels int, differ bool) {
	byLoad := make([]int, len(ws))
	for i := range byLoad {
		byLoad[i] = i
	}
	slices.SortStableFunc(byLoad, func(a, b int) int { return cmp.Compare(load(&ws[a]), load(&ws[b])) })
	logs := make([]float64, len(ws))
	for i, k := range byLoad {
		logs[i] = math.Log(max(load(&ws[k]), 1e-12))
	}
	var sums, squares = make([]float64, len(logs)+1), make([]float64, len(logs)+1)
	for i, v := range logs {
		sums[i+1], squares[i+1] = sums[i]+v, squares[i]+v*v
	}
	scatter := func(a, b int) float64 {
		s := sums[b] - sums[a]
		return squares[b] - squares[a] - s*s/float64(b-a)
	}
	mean := func(a, b int) float64 { return (sums[b] - sums[a]) / float64(b-a) }
	// Cuts where what is between them scatters least. Source: Fisher, "On grouping for
	// maximum homogeneity", JASA 1958.
	least := max(len(ws)/10, 1)
	best, cuts := math.Inf(1), [2]int{}
	for a := least; a+2*least <= len(ws); a++ {
		for b := a + least; b+least <= len(ws); b++ {
			if s := scatter(0, a) + scatter(a, b) + scatter(b, len(ws)); s < best {
				best, cuts = s, [2]int{a, b}
			}
		}
	}
	ends := []int{len(ws)}
	if !math.IsInf(best, 1) {
		ends = []int{cuts[0], cuts[1], len(ws)}
		step := math.Log(apart)
		if mean(cuts[0], cuts[1])-mean(0, cuts[0]) < step {
			ends = []int{cuts[1], len(ws)}
			if mean(cuts[1], len(ws))-mean(0, cuts[1]) < step {
				ends = ends[1:]
			}
		} else if mean(cuts[1], len(ws))-mean(cuts[0], cuts[1]) < step {
			ends = []int{cuts[0], len(ws)}
		}
	}
	if len(ends) == 1 {
		for i := range ws {
			ws[i].level = int8(i * mostLevels / len(ws))
		}
		return int(ws[len(ws)-1].level) + 1, false
	}
	from := 0
	for l, to := range ends {
		for ; from < to; from++ {
			ws[byLoad[from]].level = int8(l)
		}
	}
	return len(ends), true
}

// thin returns the windows to look at so that they hold about most visits at the utmost: of
// each level a few whole stretches, spread over it.
func thin(ws []window, levels, most int) []window {
	total := ws[len(ws)-1].to
	if total <= most {
		return ws
	}
	const stretches = 4 // of a level
	var out []window
	for l := range levels {
		var of []window
		for _, w := range ws {
			if int(w.level) == l {
				of = append(of, w)
			}
		}
		take := min(len(of), stretches)
		if size := of[0].to - of[0].from; size*take < most/levels {
			take = min(len(of), most/levels/size)
		}
		for k := range take {
			w := of[(2*k+1)*len(of)/(2*take)]
			w.to = min(w.to, w.from+most/levels/take)
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b window) int { return cmp.Compare(a.from, b.from) })
	return out
}

// quantilesOf is for reports.
func quantilesOf(sorted []time.Duration) Quantiles {
	return Quantiles{timing.Quantile(sorted, .5), timing.Quantile(sorted, .95), timing.Quantile(sorted, .99)}
}

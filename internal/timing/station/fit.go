package station

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// Quality says which model is in force, and how good it is.
type Quality string

const (
	// Good: the station tells latencies at loads it was not fitted to, to 5 % on average.
	Good Quality = "good"
	// Warn: to 9 %.
	Warn Quality = "warn"
	// ByLoad: no station is in force. Latencies are drawn from the recorded ones that had
	// as many in flight: good at loads as they were recorded, and without a capacity.
	ByLoad Quality = "by load"
)

const (
	// Fewest is how many visits a fit takes: each of three levels of load gets some 65,
	// so that its 95 % quantile has 3 beyond it. With fewer the score is but noise.
	Fewest = 200

	goodScore, warnScore = 0.05, 0.09
	grain                = 0.005 // scores below are as good as it
	identifiedFrom       = 2.0
	mostViolated         = 0.02 // of visits
	// A station is not identified, either, where one whose capacity is another by more
	// than alikeCapacity is off by less than rivalFrom times as much. In recordings up to
	// 40 % of capacity it nearly always is; beyond them the score of such rises steeply.
	alikeCapacity, rivalFrom = 1.4, 1.5
	// Nor where the heaviest load was less than this share of the capacity: what lies
	// beyond is a guess, and it is low where it is wrong.
	reached = 0.55

	// A first search is over all candidates with few visits, a second over the best ones
	// and their neighbours with more.
	coarseVisits, fineVisits = 6000, 40000
)

// Result says which model is in force for visits that share a station.
type Result struct {
	// Station is endless where Quality is ByLoad: what is drawn is the whole latency.
	Station Station
	Quality Quality
	// Why says for people, where Quality is not Good, what is amiss, and what to record
	// to mend it.
	Why string
	// Best is the station that tells the recording best, in force or not; Score is what
	// it is off, the mean of |ln(simulated/recorded)| of quantiles at levels of load
	// whose demands were not drawn from; and Identified by what factor a station at
	// which nobody waits is off more. All zero where nothing was fitted.
	Best       Station
	Score      float64
	Identified float64
	// Capacity is how many visits a second the station in force can bear at most, in the
	// mixture that was recorded; 0 where that is not known.
	Capacity float64
	Visits   int
	// Closed says that clients waited for their answers before they asked again.
	Closed bool
	Levels []Level // from the lightest load up
}

// Level is a part of a recording under about the same load, and what the model makes of it.
type Level struct {
	Visits              int
	Rate                float64 // arrivals a second
	InFlight            float64 // on average
	Recorded, Simulated Quantiles
}

// Quantiles are of latencies.
type Quantiles struct{ P50, P95, P99 time.Duration }

// scored are the quantiles that a score is the mean of.
var scored = [...]float64{.05, .25, .50, .75, .90, .95, .99}

// Fit finds the station that visits were at, all of them, or says why that cannot be told
// from them. visits may be in any order and are kept; of many, a part is looked at, which
// takes seconds. The same arguments give the same result.
func Fit(visits []Visit, seed uint64) Result {
	return fit(newRecord(visits), seed).result()
}

// fitting is a fit and what it was made with.
type fitting struct {
	r      *record // all
	fine   *study
	best   Station
	score  float64
	naive  float64
	reason string    // why there is none
	rival  candidate // the best of another capacity
}

func fit(r *record, seed uint64) *fitting {
	f := &fitting{r: r}
	if n := len(r.visits); n < Fewest {
		f.reason = fmt.Sprintf("%s: want at least %d to tell a station from; record longer", count(n, "visit"), Fewest)
		return f
	}
	ws := r.cut()
	closed := r.isClosed(ws)
	load := func(w *window) float64 { return w.rate }
	if closed {
		load = func(w *window) float64 { return w.inFlight }
	}
	levels, differ := sortLevels(ws, load)
	f.fine = newStudy(r, ws, levels, fineVisits, closed, timing.Mix(seed, 1))
	f.fine.differ = differ
	coarse := f.fine
	if len(f.fine.r.visits) > coarseVisits {
		coarse = newStudy(r, ws, levels, coarseVisits, closed, timing.Mix(seed, 2))
	}
	f.search(coarse)
	return f
}

// candidate is a station with its score.
type candidate struct {
	Station
	score    float64
	capacity float64
}

// search finds the best station.
func (f *fitting) search(coarse *study) {
	const starts = 3
	var all, best []candidate
	for _, kind := range []Discipline{FIFO, PS} {
		for _, split := range coarse.splits() {
			s := split
			s.Discipline = kind
			top := candidate{score: math.Inf(1)}
			for _, c := range coarse.counts {
				s.Servers = c
				score, ok := coarse.score(&s, 1, nil)
				if !ok {
					continue
				}
				all = append(all, candidate{s, score, coarse.capacity})
				if score < top.score {
					top = all[len(all)-1]
				}
			}
			if !math.IsInf(top.score, 1) {
				best = append(best, top)
			}
		}
	}
	slices.SortStableFunc(best, func(a, b candidate) int { return compareScores(a.score, b.score) })
	f.best, f.score = Station{Discipline: FIFO}, math.Inf(1)
	top := candidate{f.best, f.score, 0}
	for _, c := range best[:min(len(best), starts)] {
		if c = f.fine.climb(c); c.score < top.score {
			top = c
		}
	}
	f.rival = f.fine.rival(top, all)
	// Other draws than those by which it was chosen.
	const repeats = 5
	f.best = top.Station
	f.naive, _ = f.fine.score(&Station{Discipline: FIFO}, -repeats, nil)
	if f.score = f.naive; top.Servers > 0 {
		f.score, _ = f.fine.score(&f.best, -repeats, nil)
	}
}

func compareScores(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// climb goes from a candidate to the best of its neighbours until none is better.
func (s *study) climb(c candidate) candidate {
	const most = 80
	var ok bool
	if c.score, ok = s.score(&c.Station, draws, nil); !ok {
		c.score = math.Inf(1)
	}
	c.capacity = s.capacity
	seen := map[Station]bool{c.Station: true}
	tried := 0
	try := func(n Station) bool {
		n.Servers = max(n.Servers, 1)
		if seen[n] || tried >= most {
			return false
		}
		seen[n] = true
		tried++
		score, ok := s.score(&n, draws, nil)
		if !ok || score >= c.score {
			return false
		}
		c = candidate{n, score, s.capacity}
		return true
	}
	for step := 4; step >= 1; {
		better := false
		for _, sign := range []int{1, -1} {
			n := c.Station
			n.Servers += sign * max(1, n.Servers*step/32)
			better = try(n) || better
			switch n = c.Station; {
			case n.Share > 0:
				n.Share = hundredths(n.Share + float64(sign*step)*0.02)
				if n.Share < 0.05 || n.Share > 1 {
					continue
				}
			case n.Fixed == 0:
				continue
			default:
				n.Fixed += time.Duration(sign*step) * n.Fixed / 16
			}
			better = try(n) || better
		}
		if !better {
			step /= 2
		}
	}
	return c
}

// draws is over how many sets of draws candidates are compared.
const draws = 2

// rival returns the best of candidates whose capacity is not about that of top. It looks at
// those on either side that a first search found best.
func (s *study) rival(top candidate, all []candidate) candidate {
	const looks = 8
	best := candidate{score: math.Inf(1)}
	slices.SortStableFunc(all, func(a, b candidate) int { return compareScores(a.score, b.score) })
	less, more := 0, 0
	for _, c := range all {
		side := &less
		switch {
		case c.capacity > top.capacity*alikeCapacity:
			side = &more
		case c.capacity >= top.capacity/alikeCapacity:
			continue
		}
		if *side++; *side > looks {
			continue
		}
		if score, ok := s.score(&c.Station, draws, nil); ok && score < best.score {
			best = candidate{c.Station, score, s.capacity}
		}
	}
	best.score /= max(top.score, grain)
	return best
}

func (f *fitting) result() Result {
	res := Result{
		Station: Station{Discipline: FIFO}, Quality: ByLoad, Why: f.reason,
		Visits: len(f.r.visits),
	}
	if f.fine == nil {
		return res
	}
	s := f.fine
	res.Closed = s.r.closed
	res.Best, res.Score = f.best, f.score
	res.Identified = f.naive / max(f.score, grain)
	x := make([]time.Duration, len(f.r.visits))
	newBench(f.r).invert(&f.best, x)
	most := f.r.capacity(&f.best, x)
	heaviest := s.levels[len(s.levels)-1].rate
	switch {
	case f.best.Servers == 0 || res.Identified < identifiedFrom:
		res.Why = f.unidentified()
	case heaviest < reached*most:
		res.Why = fmt.Sprintf("the recording does not tell what its upstream can bear: %.3g requests a second, it seems, but the heaviest load was %.3g; "+
			"record at higher loads, up to where latency rises", most, heaviest)
	case f.rival.score < rivalFrom:
		res.Why = fmt.Sprintf("the recording does not tell what its upstream can bear: %.3g requests a second are as likely as others; "+
			"record at higher loads, up to where latency rises", f.rival.capacity)
	case f.score > warnScore:
		res.Why = fmt.Sprintf("no station tells these latencies: the best one is off by %.0f %% at loads it was not fitted to, want at most %.0f %%; "+
			"operations that wait at different places, or a dependency that changed while it was recorded, look like this: record them apart, or for longer",
			100*f.score, 100*warnScore)
	case f.score > goodScore:
		res.Quality = Warn
		res.Why = fmt.Sprintf("the station is off by %.0f %% at loads it was not fitted to, want at most %.0f %%; record for longer, at loads up to where latency rises",
			100*f.score, 100*goodScore)
	default:
		res.Quality = Good
	}
	var in *Station
	if res.Quality != ByLoad {
		in = &f.best
		res.Station, res.Capacity = f.best, most
	}
	res.Levels = s.report(in)
	return res
}

// unidentified says what to record for a station to show.
func (f *fitting) unidentified() string {
	most := slices.Max(f.r.inFlight())
	text := fmt.Sprintf("the recording does not tell what its upstream can bear: latencies hardly depend on load, with up to %d in flight", most)
	if !f.fine.differ {
		text = "the recording does not tell what its upstream can bear: its load was about the same all the time"
	}
	return text + "; record at two or three loads, the highest one so high that latency rises"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// capacity is how many visits a second s can bear, by demands x: servers by the mean time
// that a visit keeps one; 0 for endless or unknown.
func (r *record) capacity(s *Station, x []time.Duration) float64 {
	var busy float64
	n := 0
	for i := range x {
		if x[i] == violated {
			continue
		}
		n++
		if _, service := s.Split(x[i]); service > 0 {
			busy += (service + r.visits[i].End - r.visits[i].First).Seconds()
		}
	}
	if !(busy > 0) || s.Servers <= 0 {
		return 0
	}
	return float64(s.Servers) * float64(n) / busy
}

// hundredths is x without what sums of tenths and fiftieths leave behind, which people would read.
func hundredths(x float64) float64 { return math.Round(100*x) / 100 }

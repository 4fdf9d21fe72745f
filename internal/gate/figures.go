package gate

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// figure is a kind of metric: its name is the key of its limit.
type figure struct {
	name    string
	unit    Unit
	against Against // only in runs against that; "" in all
	atLeast bool
	// values are the figure's in each pair; a reason instead where there are none.
	values    func(what subject, pairs []pair) (values []float64, why string)
	transform func(float64) float64 // from values to the figure; nil for none
	rounds    bool                  // a process has one value, however many blocks
}

// figures are all metrics, in the order of the report.
var figures = []figure{
	{name: "added_p50", unit: UnitNanoseconds, against: AgainstDirect, values: added(p50)},
	{name: "added_p99", unit: UnitNanoseconds, against: AgainstDirect, values: added(p99)},
	{name: "added_p999", unit: UnitNanoseconds, against: AgainstDirect, values: added(p999)},
	{name: "cpu_ratio", unit: UnitRatio, against: AgainstBaseline, values: ratio(seconds(cpuOf), cpu), transform: math.Exp},
	{name: "p50_ratio", unit: UnitRatio, values: ratio(seconds(p50), 0), transform: math.Exp},
	{name: "p99_ratio", unit: UnitRatio, values: ratio(seconds(p99), 0), transform: math.Exp},
	{name: "throughput_ratio", unit: UnitRatio, atLeast: true, values: ratio(throughput, rate), transform: math.Exp},
	{name: "cpu_per_request", unit: UnitNanoseconds, values: own(func(b block) float64 { return float64(b.CPU) }, cpu)},
	{name: "allocs_ratio", unit: UnitRatio, against: AgainstBaseline, values: allocsRatio},
	{name: "allocs_per_request", unit: UnitCount, values: allocs},
	{name: "rss_ratio", unit: UnitRatio, against: AgainstBaseline, values: ratio(rssOf, rss), transform: math.Exp, rounds: true},
	{name: "rss", unit: UnitBytes, values: own(rssOf, rss), rounds: true},
}

// kind tells what a figure is read from, where it may be missing.
type kind int

const (
	cpu kind = iota + 1
	rss
	rate
)

func p50(b block) time.Duration   { return b.P50 }
func p99(b block) time.Duration   { return b.P99 }
func p999(b block) time.Duration  { return b.P999 }
func cpuOf(b block) time.Duration { return b.CPU }
func throughput(b block) float64  { return b.Throughput }
func rssOf(b block) float64       { return float64(b.RSS) }

// rounds is a pair for each pair of processes: the most that each of them held. Their
// blocks tell of one heap on its way to its size, not of so many measurements.
func rounds(pairs []pair) (most []pair) {
	for i, p := range pairs {
		if i == 0 || p[direct].Round != pairs[i-1][direct].Round {
			most = append(most, p)
			continue
		}
		for s, b := range p {
			last := &most[len(most)-1][s]
			last.RSS = max(last.RSS, b.RSS)
		}
	}
	return most
}

func seconds(f func(block) time.Duration) func(block) float64 {
	return func(b block) float64 { return f(b).Seconds() }
}

func column(pairs []pair, f func(pair) float64) []float64 {
	values := make([]float64, len(pairs))
	for i, p := range pairs {
		values[i] = f(p)
	}
	return values
}

// logRatios is ln(proxied/direct) of each pair; complete and noFigure have seen
// to it that there is something to divide.
func logRatios(pairs []pair, f func(block) float64) []float64 {
	return column(pairs, func(p pair) float64 { return math.Log(f(p[proxied]) / f(p[direct])) })
}

// noFigure says why k cannot be told of both sides of all pairs, "" where it can.
func noFigure(pairs []pair, k kind) string {
	for _, p := range pairs {
		for s := range p {
			if why := p[s].lacks(k); why != "" {
				return why
			}
		}
	}
	return ""
}

// lacks says why the block has no figure of kind k, "" where it has.
func (b *block) lacks(k kind) string {
	switch {
	case k == cpu && b.NoCPU != "":
		return b.NoCPU
	case k == cpu && b.CPU <= 0:
		return "no CPU time was used; longer blocks help"
	case k == rate && b.Level:
		return "both sides were asked at the same rate"
	case k == rss && b.RSS <= 0:
		return "the memory of the proxy's process is unknown"
	}
	return ""
}

func added(f func(block) time.Duration) func(subject, []pair) ([]float64, string) {
	return func(_ subject, pairs []pair) ([]float64, string) {
		for _, p := range pairs {
			if f(p[direct]) <= 0 || f(p[proxied]) <= 0 {
				return nil, "fewer than 1000 answers in a block; longer blocks help"
			}
		}
		return column(pairs, func(p pair) float64 { return float64(f(p[proxied]) - f(p[direct])) }), ""
	}
}

func ratio(f func(block) float64, k kind) func(subject, []pair) ([]float64, string) {
	return func(_ subject, pairs []pair) ([]float64, string) {
		if why := noFigure(pairs, k); why != "" {
			return nil, why
		}
		return logRatios(pairs, f), ""
	}
}

// own is a figure of the proxied side alone.
func own(f func(block) float64, k kind) func(subject, []pair) ([]float64, string) {
	return func(_ subject, pairs []pair) ([]float64, string) {
		for _, p := range pairs {
			if why := p[proxied].lacks(k); why != "" {
				return nil, why
			}
		}
		return column(pairs, func(p pair) float64 { return f(p[proxied]) }), ""
	}
}

const notCounted = "nobody told how many objects were allocated"

func allocs(what subject, _ []pair) ([]float64, string) {
	if what.allocs[proxied] == nil {
		return nil, notCounted
	}
	return what.allocs[proxied], ""
}

// allocsRatio compares with an object more on both sides: none against none is 1.
func allocsRatio(what subject, _ []pair) ([]float64, string) {
	before, after := what.allocs[direct], what.allocs[proxied]
	if before == nil || after == nil {
		return nil, notCounted
	}
	ratios := make([]float64, 0, len(after)*len(before))
	for _, a := range after {
		for _, b := range before { // either side's counts vary
			ratios = append(ratios, (a+1)/(b+1))
		}
	}
	return ratios, ""
}

// fewRounds is up to how many the extremes are their interval: resampled, it would be
// narrower than so few can know.
const fewRounds = 8

// interval is the median's: the extremes of a few that hardly vary, else by resampling.
func interval(values []float64, few bool, o Options) (timing.Interval, error) {
	if few {
		return timing.Interval{Estimate: timing.Median(values), Low: slices.Min(values), High: slices.Max(values)}, nil
	}
	return timing.MedianInterval(values, o.Level, o.Seed)
}

// measure gives m its figure, interval and verdict.
func (f *figure) measure(m *Metric, what subject, pairs []pair, o Options) error {
	if f.rounds {
		pairs = rounds(pairs)
	}
	values, why := f.values(what, pairs)
	if why == "" && len(values) < leastPairs {
		why = fmt.Sprintf("%d usable pairs, want at least %d", len(values), leastPairs)
	}
	if why != "" {
		m.unmeasured(why)
		return nil
	}
	few := m.counted() || f.rounds && len(values) <= fewRounds
	iv, err := interval(values, few, o)
	switch {
	case err != nil:
		return err
	case m.counted():
		m.Note = fmt.Sprintf("of %d blocks: median, least and most", len(what.allocs[proxied]))
	case few:
		m.Note = fmt.Sprintf("of %d processes: median, least and most", len(values))
	}
	values = slices.Clone(values)
	if f.transform != nil {
		iv.Estimate, iv.Low, iv.High = f.transform(iv.Estimate), f.transform(iv.Low), f.transform(iv.High)
		for i, v := range values {
			values[i] = f.transform(v)
		}
	}
	m.Estimate, m.Low, m.High, m.Pairs = iv.Estimate, iv.Low, iv.High, values
	m.judge()
	return nil
}

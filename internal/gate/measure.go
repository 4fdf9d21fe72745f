package gate

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// pair is a block of both sides measured next to each other; in an A/A check
// both are of the direct side.
type pair [2]block

// leastRounds is how many pairs of processes every look takes at least. Two runs of one
// program differ by where its memory came to lie, and what a process holds is one figure
// however often it is read: no number of pairs with the same two would show that.
const leastRounds = 4

// subject is what is measured, and what is known of it beforehand.
type subject struct {
	name, title string
	connections int
	allocs      [2][]float64 // per request, of each side; nil for unknown
}

// measure runs the A/A check, then pairs of both sides, and doubles the pairs
// until every limit is met or missed, or MaxPairs is reached. Each look at the
// data is a chance to be wrong, so the looks share the error that Level allows
// (Bonferroni).
func measure(ctx context.Context, what subject, s sampler, o Options) (*ScenarioReport, error) {
	o.Progress(fmt.Sprintf("%s: A/A check, %s against itself", what.title, o.Against))
	same, err := takeRounds(ctx, s, max(4, o.Pairs/2+o.Pairs/2%2), 0, direct)
	if err != nil {
		return nil, err
	}
	looks := 1
	for n := o.Pairs * 2; n <= o.MaxPairs; n *= 2 {
		looks++
	}
	o.Level = 1 - (1-o.Level)/float64(looks)
	var pairs []pair
	for want := o.Pairs; ; want *= 2 {
		o.Progress(fmt.Sprintf("%s: %d pairs, %s against proxied", what.title, want, o.Against))
		for len(pairs) < want {
			more, err := takeRounds(ctx, s, o.Pairs, len(pairs), proxied)
			if err != nil {
				return nil, err
			}
			pairs = append(pairs, more...)
		}
		sr, err := evaluate(what, pairs, o, true)
		if err != nil {
			return nil, err
		}
		if sr.Verdict != Inconclusive || !sr.helpedByMore() || want*2 > o.MaxPairs {
			if sr, err = evaluate(what, pairs, o, false); err == nil && sr.Errors == 0 {
				err = sr.addNoise(same, o)
			}
			return sr, err
		}
	}
}

// takeRounds measures n pairs of direct against other, of which from came before, in
// leastRounds rounds or more. Each has new processes on both sides, which the same load
// has made as old: nobody has the A/A check behind it, or the other's blocks.
func takeRounds(ctx context.Context, s sampler, n, from int, other side) ([]pair, error) {
	size := max(1, n/leastRounds)
	if size > 1 {
		size -= size % 2 // each AB has its BA in the same round
	}
	var pairs []pair
	for len(pairs) < n {
		if err := s.renew(ctx, other); err != nil {
			return nil, err
		}
		begin := from + len(pairs)
		more, err := takePairs(ctx, s, min(size, n-len(pairs)), begin)
		if err != nil {
			return nil, err
		}
		for i := range more {
			more[i][direct].Round, more[i][proxied].Round = begin, begin
		}
		pairs = append(pairs, more...)
	}
	return pairs, nil
}

// takePairs measures n pairs, of which from came before, at once where s can, else in the
// order ABBA: a drift of the machine then adds to one pair what it takes from the next.
func takePairs(ctx context.Context, s sampler, n, from int) ([]pair, error) {
	pairs := make([]pair, n)
	both, atOnce := s.(pairer)
	for i := range pairs {
		swapped := (from+i)%2 == 1
		if atOnce {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			var err error
			if pairs[i], err = both.pair(ctx, swapped); err != nil {
				return nil, err
			}
			continue
		}
		order := [2]side{direct, proxied}
		if swapped {
			order = [2]side{proxied, direct}
		}
		for _, slot := range order {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			b, err := s.sample(ctx, slot)
			if err != nil {
				return nil, err
			}
			pairs[i][slot] = b
		}
	}
	return pairs, nil
}

// complete drops pairs with a block in which nothing was answered: it has no
// latency, and a zero in its place would be a lie.
func complete(pairs []pair) []pair {
	kept := make([]pair, 0, len(pairs))
	for _, p := range pairs {
		if !p[direct].Empty && !p[proxied].Empty {
			kept = append(kept, p)
		}
	}
	return kept
}

// evaluate turns pairs into metrics with intervals and verdicts; only those
// that have a limit where no more is wanted.
func evaluate(what subject, pairs []pair, o Options, limited bool) (*ScenarioReport, error) {
	sr := &ScenarioReport{Name: what.name, Connections: what.connections, Pairs: len(pairs)}
	for _, p := range pairs {
		sr.Requests += p[direct].Requests + p[proxied].Requests
		sr.Errors += p[proxied].Errors
		if sr.FirstError == "" {
			sr.FirstError = p[proxied].FirstError
		}
	}
	if sr.Errors > 0 {
		// A proxy that drops requests is quick; its other figures say nothing.
		sr.Metrics = []Metric{{Name: "errors", Unit: UnitCount, Estimate: float64(sr.Errors), Low: float64(sr.Errors),
			High: float64(sr.Errors), Limit: new(float64), Verdict: Fail, Measured: true, Note: "the first: " + sr.FirstError}}
		sr.judge()
		return sr, nil
	}
	if kept := complete(pairs); len(kept) < len(pairs) {
		sr.Warnings = append(sr.Warnings, fmt.Sprintf("in %d of %d pairs a block had no answer and was left out; longer blocks or a quieter machine help", len(pairs)-len(kept), len(pairs)))
		pairs = kept
	}
	limits := o.Budget.limits(what.name, what.connections, o.Against)
	for _, f := range figures {
		if f.against != "" && f.against != o.Against {
			continue
		}
		m := Metric{Name: f.name, Unit: f.unit, AtLeast: f.atLeast}
		if l, ok := limits[f.name]; ok {
			m.Limit, m.Line = &l.Value, l.Line
		} else if limited {
			continue
		}
		if err := f.measure(&m, what, pairs, o); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		sr.Metrics = append(sr.Metrics, m)
	}
	sr.Latency = curveOf(pairs)
	sr.judge()
	return sr, nil
}

// curveOf is nil where no pair is usable.
func curveOf(pairs []pair) *Curve {
	c := &Curve{At: CurveAt}
	for side, to := range [2]*[]time.Duration{&c.Against, &c.Proxied} {
		for i := range CurveAt {
			var at []time.Duration
			for _, p := range pairs {
				if curve := p[side].Curve; i < len(curve) {
					at = append(at, curve[i])
				}
			}
			if len(at) == 0 {
				return nil
			}
			*to = append(*to, timing.Median(at))
		}
	}
	return c
}

// leastPairs is how few a bootstrap can work with.
const leastPairs = 3

// noisy is the median |ln(A/A)| from which on the report warns: one in ten.
const noisy = 0.10

// noticed is how far from 1 the whole interval of an A/A must be for the report to warn.
const noticed = 0.02

// check is a figure whose A/A is told, and where it is read.
type check struct {
	name  string
	f     func(block) float64
	pairs []pair
	few   bool // so that the extremes are the interval
}

// addNoise books how much two measurements of the same thing differ.
func (sr *ScenarioReport) addNoise(same []pair, o Options) error {
	if same = complete(same); len(same) < leastPairs {
		sr.Warnings = append(sr.Warnings, "noise: the A/A check has too few blocks with an answer; longer blocks or a quieter machine help")
		return nil
	}
	checks := []check{{"p50", seconds(p50), same, false}, {"p99", seconds(p99), same, false}}
	if noFigure(same, rate) == "" {
		checks = append(checks, check{"throughput", throughput, same, false})
	}
	if noFigure(same, cpu) == "" {
		checks = append(checks, check{"cpu", seconds(cpuOf), same, false})
	}
	if held := rounds(same); len(held) >= leastPairs && noFigure(held, rss) == "" {
		checks = append(checks, check{"rss", rssOf, held, len(held) <= fewRounds})
	}
	for _, c := range checks {
		ratios := logRatios(c.pairs, c.f)
		iv, err := interval(ratios, c.few, o)
		if err != nil {
			return fmt.Errorf("A/A check of %s: %w", c.name, err)
		}
		for i, r := range ratios {
			ratios[i] = math.Abs(r)
		}
		n := Noise{Name: c.name, Estimate: math.Exp(iv.Estimate), Low: math.Exp(iv.Low), High: math.Exp(iv.High),
			Spread: math.Expm1(timing.Median(ratios))}
		sr.Noise = append(sr.Noise, n)
		if n.Spread > math.Expm1(noisy) {
			sr.Warnings = append(sr.Warnings, fmt.Sprintf(
				"noise: two measurements of the same differ by %.0f %% in %s; a quieter machine, longer blocks or more pairs narrow the intervals", 100*n.Spread, c.name))
		}
		if max(n.Low-1, 1-n.High) > noticed {
			sr.Warnings = append(sr.Warnings, fmt.Sprintf(
				"bias: %s of the same, measured twice, came out as %.3f in [%.3f, %.3f]; a difference of that size proves nothing here", c.name, n.Estimate, n.Low, n.High))
		}
	}
	return nil
}

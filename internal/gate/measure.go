package gate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// pair is a direct and a proxied block measured next to each other; in an A/A
// check both are direct.
type pair [2]block

// measure runs the A/A check, then pairs of both sides, and doubles the pairs
// until every limit is met or missed, or MaxPairs is reached. Each look at the
// data is a chance to be wrong, so the looks share the error that Level allows
// (Bonferroni).
func measure(ctx context.Context, name string, s sampler, o Options) (*ScenarioReport, error) {
	o.Progress(fmt.Sprintf("%s: A/A check, direct against direct", name))
	same, err := takePairs(ctx, s, max(4, o.Pairs/2+o.Pairs/2%2), direct)
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
		o.Progress(fmt.Sprintf("%s: %d pairs, direct against proxied", name, want))
		more, err := takePairs(ctx, s, want-len(pairs), proxied)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, more...)
		sr, err := evaluate(name, same, pairs, o)
		if err != nil {
			return nil, err
		}
		if sr.Verdict != Inconclusive || !sr.helpedByMore() || want*2 > o.MaxPairs {
			return sr, nil
		}
	}
}

// takePairs measures n pairs of direct against other in the order ABBA: a drift
// of the machine then adds to one pair what it takes from the next.
func takePairs(ctx context.Context, s sampler, n int, other side) ([]pair, error) {
	pairs := make([]pair, n)
	for i := range pairs {
		first, second := direct, proxied
		if i%2 == 1 {
			first, second = second, first
		}
		for _, slot := range []side{first, second} {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			way := direct
			if slot == proxied {
				way = other
			}
			b, err := s.sample(ctx, way)
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

// evaluate turns pairs into metrics with intervals and verdicts.
func evaluate(name string, same, pairs []pair, o Options) (*ScenarioReport, error) {
	sr := &ScenarioReport{Name: name, Pairs: len(pairs)}
	limits := o.Budget.limits(name)
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
	ns := func(f func(block) time.Duration) []float64 {
		return column(pairs, func(p pair) float64 { return float64(f(p[proxied]) - f(p[direct])) })
	}
	add := func(m Metric, values []float64, transform func(float64) float64) error {
		if len(values) < leastPairs {
			m.Note = fmt.Sprintf("not measured: %d usable pairs, want at least %d", len(values), leastPairs)
			m.unmeasured()
			sr.Metrics = append(sr.Metrics, m)
			return nil
		}
		iv, err := timing.MedianInterval(values, o.Level, o.Seed)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		m.Estimate, m.Low, m.High = transform(iv.Estimate), transform(iv.Low), transform(iv.High)
		m.judge()
		sr.Metrics = append(sr.Metrics, m)
		return nil
	}
	plain := func(v float64) float64 { return v }
	err := errors.Join(
		add(Metric{Name: "added_p50", Unit: UnitNanoseconds, Limit: limits.most(limits.AddedP50)}, ns(p50), plain),
		add(Metric{Name: "added_p99", Unit: UnitNanoseconds, Limit: limits.most(limits.AddedP99)}, ns(p99), plain),
		add(Metric{Name: "p50_ratio", Unit: UnitRatio}, logRatios(pairs, seconds(p50)), math.Exp),
		add(Metric{Name: "p99_ratio", Unit: UnitRatio}, logRatios(pairs, seconds(p99)), math.Exp),
		add(Metric{Name: "throughput_ratio", Unit: UnitRatio, Limit: limits.ThroughputRatio, AtLeast: true}, logRatios(pairs, throughput), math.Exp),
	)
	if err != nil {
		return nil, err
	}
	cpu := Metric{Name: "cpu_per_request", Unit: UnitNanoseconds, Limit: limits.most(limits.CPUPerRequest)}
	if why := noCPU(pairs); why != "" {
		cpu.Note = "not measured: " + why
		cpu.unmeasured()
		sr.Metrics = append(sr.Metrics, cpu)
	} else if err := add(cpu, column(pairs, func(p pair) float64 { return float64(p[proxied].CPU) }), plain); err != nil {
		return nil, err
	}
	if err := sr.addNoise(same, o); err != nil {
		return nil, err
	}
	sr.judge()
	return sr, nil
}

func p50(b block) time.Duration  { return b.P50 }
func p99(b block) time.Duration  { return b.P99 }
func throughput(b block) float64 { return b.Throughput }
func column(pairs []pair, f func(pair) float64) []float64 {
	values := make([]float64, len(pairs))
	for i, p := range pairs {
		values[i] = f(p)
	}
	return values
}

func seconds(f func(block) time.Duration) func(block) float64 {
	return func(b block) float64 { return f(b).Seconds() }
}

// logRatios is ln(proxied/direct) of each pair; complete has seen to it that
// there is something to divide.
func logRatios(pairs []pair, f func(block) float64) []float64 {
	return column(pairs, func(p pair) float64 { return math.Log(f(p[proxied]) / f(p[direct])) })
}

func noCPU(pairs []pair) string {
	for _, p := range pairs {
		if p[proxied].NoCPU != "" {
			return p[proxied].NoCPU
		}
	}
	return ""
}

// leastPairs is how few a bootstrap can work with.
const leastPairs = 3

// noisy is the median |ln(A/A)| from which on the report warns: one in ten.
const noisy = 0.10

// addNoise books how much two measurements of the same thing differ.
func (sr *ScenarioReport) addNoise(same []pair, o Options) error {
	if same = complete(same); len(same) < leastPairs {
		sr.Warnings = append(sr.Warnings, "noise: the A/A check has too few blocks with an answer; longer blocks or a quieter machine help")
		return nil
	}
	for _, m := range []struct {
		name string
		f    func(block) float64
	}{{"p50", seconds(p50)}, {"p99", seconds(p99)}, {"throughput", throughput}} {
		ratios := logRatios(same, m.f)
		iv, err := timing.MedianInterval(ratios, o.Level, o.Seed)
		if err != nil {
			return fmt.Errorf("A/A check of %s: %w", m.name, err)
		}
		for i, r := range ratios {
			ratios[i] = math.Abs(r)
		}
		n := Noise{Name: m.name, Estimate: math.Exp(iv.Estimate), Low: math.Exp(iv.Low), High: math.Exp(iv.High),
			Spread: math.Expm1(timing.Median(ratios))}
		sr.Noise = append(sr.Noise, n)
		if n.Spread > math.Expm1(noisy) {
			sr.Warnings = append(sr.Warnings, fmt.Sprintf(
				"noise: two direct measurements differ by %.0f %% in %s; a quieter machine, longer blocks or more pairs narrow the intervals", 100*n.Spread, m.name))
		}
	}
	return nil
}

package gate

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// side is one of the two ways to the answer: direct stands for whatever is
// compared with, a baseline included.
type side int

const (
	direct side = iota
	proxied
)

// block is what one block of one side came to.
type block struct {
	P50, P99, P999 time.Duration // open loop, from the intended start; P999 is 0 for too few answers
	Curve          []time.Duration
	Throughput     float64       // requests per second, closed loop
	CPU            time.Duration // of the proxy per request, closed loop
	NoCPU          string        // why CPU was not measured; "" where it was
	RSS            int64         // of the proxy, bytes; 0 for unknown
	Requests       int
	Errors         int
	Empty          bool // one of its loops has no answer
	Level          bool // asked at a rate that both sides get: there is no throughput
	FirstError     string
}

// sampler yields blocks. Tests bring one with a known overhead.
type sampler interface {
	sample(ctx context.Context, s side) (block, error)
	renew(ctx context.Context) error
}

// probe samples a proxy and its upstream with a real load.
type probe struct {
	load  Loader
	base  LoadOptions
	names [2]string // of the sides
	ends  [2]Endpoint
	half  time.Duration
	rate  float64 // 0 until warmUp has chosen it
	share float64 // of the slower side's throughput, for the rate

	starts   [2]Start
	upstream *Upstream
	running  []func() error // what ends the ways that run
}

// start brings up both ways.
func (p *probe) start(ctx context.Context) error {
	for side, start := range p.starts {
		at, stop, err := start(ctx, p.upstream, false)
		if err != nil {
			return fmt.Errorf("start proxy: %w", err)
		}
		p.ends[side], p.running = at, append(p.running, stop)
	}
	return nil
}

// stop ends what runs.
func (p *probe) stop() (err error) {
	for _, stop := range p.running {
		if e := stop(); e != nil {
			err = errors.Join(err, fmt.Errorf("stop proxy: %w", e))
		}
	}
	p.running = nil
	return err
}

// renew goes on with new processes: two runs of one program differ by where
// its memory came to lie, which no number of pairs with the same two would show.
func (p *probe) renew(ctx context.Context) error {
	if err := errors.Join(p.stop(), p.start(ctx)); err != nil {
		return err
	}
	return p.warmUp(ctx)
}

// Far below saturation a latency is the way's own, not a queue's.
const openShare = 1.0 / 3

// leastWarmUp is how long a side is warmed up however short its blocks are.
const leastWarmUp = 200 * time.Millisecond

// warmUp fills pools and caches on both sides and chooses the open loop's rate.
func (p *probe) warmUp(ctx context.Context) error {
	slowest, half := 0.0, p.half
	p.half = max(half, leastWarmUp)
	defer func() { p.half = half }()
	for _, s := range []side{direct, proxied} {
		r, err := p.run(ctx, s, 0)
		if err != nil {
			return err
		}
		if r.Requests == 0 {
			why := r.FirstError
			if why == "" {
				why = fmt.Sprintf("none was answered within %s", p.half)
			}
			return fmt.Errorf("warm-up, %s: no request succeeded: %s", p.names[s], why)
		}
		if t := r.Throughput(); slowest == 0 || t < slowest {
			slowest = t
		}
	}
	if p.rate == 0 {
		p.rate = slowest * p.share
	}
	return nil
}

// load is base, sent to the endpoint.
func (at *Endpoint) load(base LoadOptions) LoadOptions {
	base.URL, base.Spread, base.ProxyURL, base.HTTP2, base.Header = at.URL, at.Spread, at.ProxyURL, at.HTTP2, at.Header
	base.Roots, base.PID = at.Roots, at.PID
	return base
}

// run loads one side for half a block; rate 0 is a closed loop.
func (p *probe) run(ctx context.Context, s side, rate float64) (LoadResult, error) {
	o := p.ends[s].load(p.base)
	o.Duration, o.Rate = p.half, rate
	load := p.load
	if own := p.ends[s].Load; own != nil {
		load = own
	}
	r, err := load(ctx, o)
	if err != nil {
		return r, fmt.Errorf("load the %s way: %w", p.names[s], err)
	}
	if s == direct && r.Errors > 0 {
		// Then it is the bench that is broken, not what is measured on it.
		return r, fmt.Errorf("load the %s way: %d requests failed, the first with: %s", p.names[s], r.Errors, r.FirstError)
	}
	return r, nil
}

func (p *probe) sample(ctx context.Context, s side) (block, error) {
	var b block
	closed, err := p.run(ctx, s, 0)
	if err != nil {
		return b, err
	}
	open, err := p.run(ctx, s, p.rate)
	if err != nil {
		return b, err
	}
	b.CPU, b.NoCPU = perRequest(closed)
	b.P50, b.P99, b.P999, b.Curve = open.Latency.P50, open.Latency.P99, open.P999, open.Curve
	b.Throughput, b.RSS = closed.Throughput(), max(closed.RSS, open.RSS)
	b.Requests, b.Errors = closed.Requests+open.Requests, closed.Errors+open.Errors
	b.Empty = closed.Requests == 0 || open.Requests == 0 || open.Latency.P50 <= 0
	b.FirstError = closed.FirstError
	if b.FirstError == "" {
		b.FirstError = open.FirstError
	}
	return b, nil
}

// countedBlocks is how often allocations are counted: they hardly vary.
const countedBlocks = 3

// countBoth counts the objects allocated per request on the sides that can, on
// instances of their own: what answers the question costs something, too.
func (p *probe) countBoth(ctx context.Context, s Scenario, against Start, up *Upstream, o Options) (found [2][]float64, err error) {
	if !s.Counts {
		return found, nil
	}
	for side, start := range [2]Start{against, s.Start} {
		if p.ends[side].PID == 0 {
			continue // the direct way has no process
		}
		if found[side], err = p.count(ctx, start, up); err != nil {
			// An older build may lack what tells; the rest can still be measured.
			o.Progress(fmt.Sprintf("%s: allocations of the %s way were not counted: %v", s.Name, p.names[side], err))
			if ctx.Err() != nil {
				return found, ctx.Err()
			}
			found[side] = nil
		}
	}
	return found, nil
}

func (p *probe) count(ctx context.Context, start Start, up *Upstream) (perRequest []float64, err error) {
	at, stop, err := start(ctx, up, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if at.Mallocs == nil {
		return nil, errors.New("it does not tell")
	}
	own := probe{load: p.load, base: p.base, names: p.names, ends: [2]Endpoint{proxied: at}, half: max(p.half, leastWarmUp)}
	if _, err := own.run(ctx, proxied, 0); err != nil { // pools and caches fill
		return nil, err
	}
	for range countedBlocks {
		var reads [3]uint64 // two before, to know what reading costs
		for i := range reads {
			served := 0
			if i == 2 {
				r, err := own.run(ctx, proxied, 0)
				if err != nil {
					return nil, err
				}
				if served = r.Requests + r.Outside; served == 0 {
					return nil, fmt.Errorf("no request succeeded: %s", r.FirstError)
				}
			}
			if reads[i], err = at.Mallocs(ctx); err != nil {
				return nil, err
			}
			if i == 2 {
				reading := float64(reads[1] - reads[0])
				perRequest = append(perRequest, max(0, float64(reads[2]-reads[1])-reading)/float64(served))
			}
		}
	}
	return perRequest, nil
}

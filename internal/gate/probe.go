package gate

import (
	"context"
	"fmt"
	"time"
)

// side is one of the two ways to the upstream.
type side int

const (
	direct side = iota
	proxied
)

func (s side) String() string { return [...]string{"direct", "proxied"}[s] }

// block is what one block of one side came to.
type block struct {
	P50, P99   time.Duration // open loop, from the intended start
	Throughput float64       // requests per second, closed loop
	CPU        time.Duration // of the proxy per request, closed loop
	NoCPU      string        // why CPU was not measured; "" where it was
	Requests   int
	Errors     int
	Empty      bool // one of its loops has no answer
	FirstError string
}

// sampler yields blocks. Tests bring one with a known overhead.
type sampler interface {
	sample(ctx context.Context, s side) (block, error)
}

// probe samples a proxy and its upstream with a real load.
type probe struct {
	load Loader
	base LoadOptions
	ends [2]Endpoint
	half time.Duration
	rate float64 // 0 until warmUp has chosen it
}

// Far below saturation a latency is the way's own, not a queue's.
const openShare = 1.0 / 3

// warmUp fills pools and caches on both sides and chooses the open loop's rate.
func (p *probe) warmUp(ctx context.Context) error {
	slowest := 0.0
	for _, s := range []side{direct, proxied} {
		r, err := p.run(ctx, s, 0)
		if err != nil {
			return err
		}
		if r.Requests == 0 {
			return fmt.Errorf("warm-up, %s: no request succeeded: %s", s, r.FirstError)
		}
		if t := r.Throughput(); slowest == 0 || t < slowest {
			slowest = t
		}
	}
	if p.rate == 0 {
		p.rate = slowest * openShare
	}
	return nil
}

// run loads one side for half a block; rate 0 is a closed loop.
func (p *probe) run(ctx context.Context, s side, rate float64) (LoadResult, error) {
	o := p.base
	o.URL, o.ProxyURL, o.CAFile = p.ends[s].URL, p.ends[s].ProxyURL, p.ends[s].CAFile
	o.Duration, o.Rate = p.half, rate
	r, err := p.load(ctx, o)
	if err != nil {
		return r, fmt.Errorf("load the %s way: %w", s, err)
	}
	if s == direct && r.Errors > 0 {
		// Then it is the bench that is broken, not what is measured on it.
		return r, fmt.Errorf("load the direct way: %d requests failed, the first with: %s", r.Errors, r.FirstError)
	}
	return r, nil
}

func (p *probe) sample(ctx context.Context, s side) (block, error) {
	var b block
	pid := p.ends[s].PID
	before, cpuErr := cpuTime(pid)
	closed, err := p.run(ctx, s, 0)
	if err != nil {
		return b, err
	}
	after, err := cpuTime(pid)
	if cpuErr == nil {
		cpuErr = err
	}
	// What lies outside the block costs the proxy as well.
	served := closed.Requests + closed.Outside
	switch {
	case s == direct:
		b.NoCPU = "no proxy on the direct way"
	case cpuErr != nil:
		b.NoCPU = cpuErr.Error()
	case served == 0:
		b.NoCPU = "no request succeeded"
	default:
		b.CPU = (after - before) / time.Duration(served)
	}
	open, err := p.run(ctx, s, p.rate)
	if err != nil {
		return b, err
	}
	b.P50, b.P99, b.Throughput = open.Latency.P50, open.Latency.P99, closed.Throughput()
	b.Requests, b.Errors = closed.Requests+open.Requests, closed.Errors+open.Errors
	b.Empty = closed.Requests == 0 || open.Requests == 0 || open.Latency.P50 <= 0
	b.FirstError = closed.FirstError
	if b.FirstError == "" {
		b.FirstError = open.FirstError
	}
	return b, nil
}

package gate

import (
	"context"
	"errors"
	"sync"
	"time"
)

// pairer yields both blocks of a pair at once, instead of one after the other.
type pairer interface {
	pair(ctx context.Context, swapped bool) (pair, error)
}

// togetherShare of what one CPU can do for a side alone is asked of each side.
// Below saturation both get all they ask for, so their requests are equal.
const togetherShare = 0.3

// together samples both sides at the same time, at the same rate. What the machine
// does to one then falls on the other within the same milliseconds; with everything
// on one CPU, on the same one. The costs of a busy or slow CPU are not noise then.
//
// It tells CPU time apart several times sooner than turns do (docs/gate.md), and
// says nothing about throughput.
type together struct {
	*probe
	loads [2]Loader
}

func (t *together) pair(ctx context.Context, swapped bool) (p pair, err error) {
	loads, order := t.loads, [2]side{direct, proxied}
	if swapped { // the loads are processes, too: what differs between them, or comes of being first, cancels out
		loads[0], loads[1] = loads[1], loads[0]
		order = [2]side{proxied, direct}
	}
	var results [2]LoadResult
	var errs [2]error
	var both sync.WaitGroup
	for _, s := range order {
		both.Go(func() { results[s], errs[s] = t.loadOne(ctx, loads[s], s) })
	}
	both.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return p, err
	}
	for s, r := range results {
		b := &p[s]
		b.Level = true
		b.P50, b.P99, b.P999, b.Curve, b.RSS = r.Latency.P50, r.Latency.P99, r.P999, r.Curve, r.RSS
		b.Requests, b.Errors, b.FirstError = r.Requests, r.Errors, r.FirstError
		b.Empty = r.Requests == 0 || r.Latency.P50 <= 0
		b.CPU, b.NoCPU = perRequest(r)
	}
	return p, nil
}

func (t *together) loadOne(ctx context.Context, load Loader, s side) (LoadResult, error) {
	at := &t.ends[s]
	o := at.load(t.base)
	if at.Load != nil {
		load = at.Load
	}
	o.Duration, o.Rate = 2*t.half, t.rate
	r, err := load(ctx, o)
	return r, t.broken(s, r, err)
}

// perRequest is the CPU time of each request, or why there is none.
func perRequest(r LoadResult) (time.Duration, string) {
	// What lies outside the block costs the proxy as well.
	served := r.Requests + r.Outside
	switch {
	case r.NoCPU != "":
		return 0, r.NoCPU
	case served == 0:
		return 0, "no request succeeded"
	}
	return r.CPU / time.Duration(served), ""
}

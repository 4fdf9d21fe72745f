package gate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// pairer yields both blocks of a pair at once, instead of one after the other.
type pairer interface {
	pair(ctx context.Context, swapped bool, other side) (pair, error)
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
	twin  *Endpoint // a second process of the direct side, for the A/A check
}

// renew goes on with new processes, as probe's does.
func (t *together) renew(ctx context.Context) error {
	t.twin = nil // it ends with the others
	return t.probe.renew(ctx)
}

func (t *together) pair(ctx context.Context, swapped bool, other side) (p pair, err error) {
	ends := t.ends
	if other == direct {
		if t.twin == nil {
			at, stop, err := t.starts[direct](ctx, t.upstream, false)
			if err != nil {
				return p, fmt.Errorf("start proxy: %w", err)
			}
			t.twin, t.running = &at, append(t.running, stop)
		}
		ends[proxied] = *t.twin
	}
	loads := t.loads
	if swapped { // the loads are processes, too: what differs between them cancels out
		loads[0], loads[1] = loads[1], loads[0]
	}
	var results [2]LoadResult
	var errs [2]error
	var both sync.WaitGroup
	for s := range ends {
		both.Go(func() { results[s], errs[s] = t.loadOne(ctx, loads[s], &ends[s], side(s)) })
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

func (t *together) loadOne(ctx context.Context, load Loader, at *Endpoint, s side) (LoadResult, error) {
	o := at.load(t.base)
	if at.Load != nil {
		load = at.Load
	}
	o.Duration, o.Rate = 2*t.half, t.rate
	r, err := load(ctx, o)
	if err != nil {
		return r, fmt.Errorf("load the %s way: %w", t.names[s], err)
	}
	if s == direct && r.Errors > 0 {
		return r, fmt.Errorf("load the %s way: %d requests failed, the first with: %s", t.names[s], r.Errors, r.FirstError)
	}
	return r, nil
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

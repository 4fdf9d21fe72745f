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
	Round          int // another one than in the pair before where its process is another
}

// sampler yields blocks. Tests bring one with a known overhead.
type sampler interface {
	// sample loads the process on side s.
	sample(ctx context.Context, s side) (block, error)
	// renew goes on with new processes: one of the direct way, and on the proxied side
	// one of the way other, which for an A/A check is the direct one, too.
	renew(ctx context.Context, other side) error
}

// probe samples a proxy and its upstream with a real load.
type probe struct {
	load  Loader
	base  LoadOptions
	names [2]string // of the sides
	ways  [2]side   // what is on each side: both are direct in an A/A check
	ends  [2]Endpoint
	half  time.Duration
	rate  float64 // 0 until warmUp has chosen it
	share float64 // of the slower side's throughput, for the rate

	starts   [2]Start
	upstream *Upstream
	running  []func() error // what ends the ways that run
	rounds   int            // how often they were started
}

// order is that of starting and warming up: the sides take turns at being first.
func (p *probe) order() [2]side {
	if p.rounds%2 == 0 {
		return [2]side{proxied, direct}
	}
	return [2]side{direct, proxied}
}

// start brings up both sides, with the way other on the proxied one.
func (p *probe) start(ctx context.Context, other side) error {
	p.rounds++
	p.ways = [2]side{direct, other}
	for _, s := range p.order() {
		at, stop, err := p.starts[p.ways[s]](ctx, p.upstream, false)
		if err != nil {
			return fmt.Errorf("start proxy: %w", err)
		}
		p.ends[s], p.running = at, append(p.running, stop)
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

func (p *probe) renew(ctx context.Context, other side) error {
	if err := p.stop(); err != nil {
		return err
	}
	if err := p.start(ctx, other); err != nil {
		return err
	}
	var fresh []side
	for _, s := range p.order() {
		if p.ends[s].PID != 0 { // going direct, or a proxy of the user's, has nothing new
			fresh = append(fresh, s)
		}
	}
	return p.warmUp(ctx, fresh...)
}

// Far below saturation a latency is the way's own, not a queue's.
const openShare = 1.0 / 3

// leastWarmUp is how long a side is warmed up however short its blocks are.
const leastWarmUp = 200 * time.Millisecond

// warmUps is how often a warm-up without an answer begins again: a process is new for
// each round, and a busy machine takes its time with it.
const warmUps = 5

// warmUp fills pools and caches on the sides and chooses the open loop's rate.
func (p *probe) warmUp(ctx context.Context, sides ...side) error {
	slowest, half := 0.0, p.half
	p.half = max(half, leastWarmUp)
	defer func() { p.half = half }()
	for _, s := range sides {
		var r LoadResult
		for tries := 0; r.Requests == 0 && r.FirstError == "" && tries < warmUps; tries++ {
			var err error
			if r, err = p.run(ctx, s, 0); err != nil {
				return err
			}
		}
		if r.Requests == 0 {
			why := r.FirstError + tryIt
			if r.FirstError == "" {
				why = fmt.Sprintf("nothing within %s, %d times\nhint: a longer --block waits longer", p.half, warmUps)
			}
			return fmt.Errorf("warm-up, %s: %s: want answers with 2xx, got %s", p.names[p.ways[s]], p.ends[s].place(), why)
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

// place is where the load goes.
func (at *Endpoint) place() string {
	if at.ProxyURL != "" {
		return at.URL + " through " + at.ProxyURL
	}
	return at.URL
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
	return r, p.broken(s, r, err)
}

// tryIt is what to do about a way that does not answer as it should.
const tryIt = "\nhint: every request must be answered; try it with curl -i, or with fewer --connections"

// broken says what is wrong with the bench, rather than with what is measured on it.
func (p *probe) broken(s side, r LoadResult, err error) error {
	way := p.ways[s]
	switch {
	case err != nil:
		return fmt.Errorf("load the %s way: %w", p.names[way], err)
	case way == direct && r.Errors > 0:
		return fmt.Errorf("load the %s way: %s: want answers with 2xx, %d requests failed, the first with: %s%s",
			p.names[way], p.ends[s].URL, r.Errors, r.FirstError, tryIt)
	}
	return nil
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

// countedBlocks is how often allocations are counted on each side: of equals, all counts
// of one side lie beyond all of the other by chance in 2 of 252 cases.
const countedBlocks = 5

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
			if ctx.Err() != nil {
				return found, ctx.Err()
			}
			// An older build may lack what tells; the rest can still be measured.
			o.Progress(fmt.Sprintf("%s: allocations of the %s way were not counted: %v", s.Name, p.names[side], err))
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
	own := probe{load: p.load, base: p.base, names: p.names, ways: [2]side{direct, proxied}, ends: [2]Endpoint{proxied: at}}
	long := max(p.half, leastWarmUp)
	if _, _, err := own.allocated(ctx, long); err != nil { // pools and caches fill
		return nil, err
	}
	for range countedBlocks {
		// What connecting and reading cost is in the short load as in the long one.
		few, servedFew, err := own.allocated(ctx, long/shortPart)
		if err != nil {
			return nil, err
		}
		many, servedMany, err := own.allocated(ctx, long)
		if err != nil {
			return nil, err
		}
		if servedMany <= servedFew {
			return nil, fmt.Errorf("%.0f requests were answered in %s, and %.0f in %s; longer blocks or a quieter machine help", servedMany, long, servedFew, long/shortPart)
		}
		perRequest = append(perRequest, max(0, many-few)/(servedMany-servedFew))
	}
	return perRequest, nil
}

// shortPart of a load is one that is over when it has hardly begun.
const shortPart = 8

// allocated counts what a load makes the proxied side allocate, with what it takes to
// connect and to ask for the count, and the requests served.
func (p *probe) allocated(ctx context.Context, length time.Duration) (objects, served float64, err error) {
	mallocs := p.ends[proxied].Mallocs
	before, err := mallocs(ctx)
	if err != nil {
		return 0, 0, err
	}
	p.half = length
	r, err := p.run(ctx, proxied, 0)
	if err != nil {
		return 0, 0, err
	}
	if r.Requests+r.Outside == 0 {
		return 0, 0, fmt.Errorf("no request succeeded: %s", r.FirstError)
	}
	after, err := mallocs(ctx)
	return float64(after - before), float64(r.Requests + r.Outside), err
}

package gate

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// LoadOptions describe one load. They travel as JSON to a process of its own.
type LoadOptions struct {
	URL         string        `json:"url"`              // what to GET
	Spread      int           `json:"spread,omitempty"` // as in Endpoint
	ProxyURL    string        `json:"proxy_url,omitempty"`
	HTTP2       bool          `json:"http2,omitempty"`
	Header      []string      `json:"header,omitempty"`
	Roots       string        `json:"roots,omitempty"`
	PID         int           `json:"pid,omitempty"` // whose CPU time and memory are read; 0 for nobody's
	Connections int           `json:"connections"`
	Duration    time.Duration `json:"duration_ns"` // of what is measured; a tenth more warms up
	// Rate, in requests per second over all connections, makes an open loop:
	// requests have an intended start, whatever became of the ones before.
	// 0 is a closed loop: each connection sends as soon as it has its answer.
	Rate float64 `json:"rate"`
}

// LoadResult is what a load came to.
type LoadResult struct {
	Requests   int            `json:"requests"` // answered with 2xx and part of the block
	Outside    int            `json:"outside"`  // answered with 2xx before the block or after it
	Errors     int            `json:"errors"`   // whenever they happened
	FirstError string         `json:"first_error,omitempty"`
	Elapsed    time.Duration  `json:"elapsed_ns"`
	Latency    timing.Summary `json:"latency"`
	// P999 is 0 where there are fewer than 1000 answers: it would be the maximum.
	P999 time.Duration `json:"p999_ns,omitempty"`
	// Curve has the latency at each of CurveAt; nil without an answer.
	Curve []time.Duration `json:"curve_ns,omitempty"`
	// CPU is what the process PID used from the first request to the last answer.
	CPU   time.Duration `json:"cpu_ns,omitempty"`
	NoCPU string        `json:"no_cpu,omitempty"` // why it was not measured
	RSS   int64         `json:"rss,omitempty"`    // of PID after the load, bytes; 0 for unknown
}

// CurveAt are the quantiles that a latency curve is drawn through.
var CurveAt = []float64{0, .05, .1, .2, .3, .4, .5, .6, .7, .75, .8, .85, .9, .93, .95, .97, .98, .99, .995, .998, .999}

// Throughput is in requests per second.
func (r LoadResult) Throughput() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Requests) / r.Elapsed.Seconds()
}

// Loader runs a load and returns its result. Requests that fail are in the
// result; an error means that there was no load.
type Loader func(ctx context.Context, o LoadOptions) (LoadResult, error)

// RunLoad runs a load in this process: keep-alive connections, one request at a
// time on each, over HTTP/2 too.
//
// In an open loop a latency counts from the intended start if the connection was
// still waiting for an earlier answer then (a slow proxy must not slow its own
// measurement), and from the real one if only this process's clock was late.
func RunLoad(ctx context.Context, o LoadOptions) (LoadResult, error) {
	d, err := newDialer(o)
	if err != nil {
		return LoadResult{}, fmt.Errorf("run load: %w", err)
	}
	return runLoad(ctx, o, d.dial, d.speak, sleepUntil)
}

// talker sends requests on one connection, one after the other.
type talker interface {
	// exchange sends request n and reads the answer to its end. keep is false where
	// the connection cannot be used again. An answer other than 2xx is an error.
	exchange(n int) (keep bool, err error)
}

// maxInARow is how many requests of a connection may fail one after the other
// before it gives up: a dead target must not be hammered.
const maxInARow = 5

func runLoad(ctx context.Context, o LoadOptions, dial func(context.Context) (net.Conn, error), speak func(net.Conn) (talker, error), sleep func(time.Time)) (LoadResult, error) {
	if o.Connections < 1 || o.Duration <= 0 || o.Rate < 0 {
		return LoadResult{}, fmt.Errorf("run load: want connections and a duration above 0, got %d and %v at a rate of %v", o.Connections, o.Duration, o.Rate)
	}
	workers := make([]*worker, o.Connections)
	for i := range workers {
		workers[i] = &worker{dial: dial, speak: speak, sleep: sleep, closedLoop: o.Rate == 0, samples: make([]time.Duration, 0, 1<<12),
			next: i * o.Spread / o.Connections} // they go round from places of their own
	}
	var wg sync.WaitGroup
	for _, w := range workers { // all connect before any sends
		wg.Go(func() { w.connect(ctx) })
	}
	wg.Wait()
	before, cpuErr := cpuTime(o.PID)
	start := time.Now()
	begin := start.Add(o.Duration / 10)
	end := begin.Add(o.Duration)
	for i, w := range workers {
		wg.Go(func() { // ends at end, or with ctx
			if w.closedLoop {
				w.closed(ctx, begin, end)
				return
			}
			// The connections take turns.
			gap := time.Duration(float64(o.Connections) / o.Rate * float64(time.Second))
			w.open(ctx, start.Add(gap*time.Duration(i)/time.Duration(o.Connections)), gap, begin, end)
		})
	}
	wg.Wait()
	r := LoadResult{Elapsed: o.Duration}
	if after, err := cpuTime(o.PID); err == nil && cpuErr == nil {
		r.CPU = after - before
	} else {
		r.NoCPU = cmp.Or(cpuErr, err).Error()
	}
	r.RSS, _ = residentSize(o.PID) // 0 where it cannot be read
	for _, w := range workers {
		w.close()
	}
	if err := ctx.Err(); err != nil {
		return LoadResult{}, fmt.Errorf("run load: %w", err)
	}
	var all []time.Duration
	for _, w := range workers {
		all = append(all, w.samples...)
		r.Outside += w.outside
		r.Errors += w.errors
		if r.FirstError == "" && w.firstError != nil {
			r.FirstError = w.firstError.Error()
		}
	}
	r.Requests, r.Latency = len(all), timing.Summarize(all)
	if len(all) > 0 {
		slices.Sort(all)
		for _, p := range CurveAt {
			r.Curve = append(r.Curve, timing.Quantile(all, p))
		}
	}
	if len(all) >= 1000 {
		r.P999 = timing.Quantile(all, 0.999)
	}
	return r, nil
}

// worker is one connection of a load.
type worker struct {
	dial  func(context.Context) (net.Conn, error)
	speak func(net.Conn) (talker, error)
	sleep func(time.Time)
	next  int // the number of the next request
	// closedLoop counts a request where it ends, so that a block holds what the
	// proxy got done in it; an open loop counts it where it begins.
	closedLoop bool

	c          talker
	conn       net.Conn
	unhook     func() bool
	samples    []time.Duration
	outside    int
	errors     int
	inARow     int
	firstError error
}

func (w *worker) connect(ctx context.Context) {
	conn, err := w.dial(ctx)
	if err != nil {
		w.failed(err)
		return
	}
	unhook := context.AfterFunc(ctx, func() { conn.Close() })
	c, err := w.speak(conn)
	if err != nil {
		unhook()
		conn.Close()
		w.failed(err)
		return
	}
	w.c, w.conn, w.unhook = c, conn, unhook
}

func (w *worker) close() {
	if w.c != nil {
		w.unhook()
		w.conn.Close()
		w.c = nil
	}
}

func (w *worker) failed(err error) {
	w.errors++
	w.inARow++
	if w.firstError == nil {
		w.firstError = err
	}
}

// do sends one request that counts from start.
func (w *worker) do(ctx context.Context, start, begin, end time.Time) {
	if w.c == nil {
		if w.connect(ctx); w.c == nil {
			return
		}
	}
	keep, err := w.c.exchange(w.next)
	w.next++
	now := time.Now()
	counts := start
	if w.closedLoop {
		counts = now
	}
	switch {
	case err != nil:
		w.failed(err)
	case counts.Before(begin) || w.closedLoop && now.After(end):
		w.outside++
		w.inARow = 0
	default:
		w.samples = append(w.samples, now.Sub(start))
		w.inARow = 0
	}
	if err != nil || !keep {
		w.close()
	}
}

func (w *worker) closed(ctx context.Context, begin, end time.Time) {
	for w.inARow < maxInARow && ctx.Err() == nil {
		now := time.Now()
		if !now.Before(end) {
			return
		}
		w.do(ctx, now, begin, end)
	}
}

func (w *worker) open(ctx context.Context, first time.Time, gap time.Duration, begin, end time.Time) {
	free := time.Now() // since when the connection has waited for its turn
	for intended := first; intended.Before(end); intended = intended.Add(gap) {
		if w.inARow >= maxInARow || ctx.Err() != nil {
			return
		}
		start := intended
		if free.Before(intended) {
			w.sleep(intended)
			start = time.Now()
		}
		w.do(ctx, start, begin, end)
		free = time.Now()
	}
}

package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// MissPolicy says what happens to a request that the Responder cannot answer.
type MissPolicy uint8

const (
	MissFail    MissPolicy = iota // answer 502 with the nearest stub and the differences
	MissForward                   // ask the upstream
	MissRecord                    // ask the upstream, and record it
)

// Options are what a Pipeline works with. Planner, Responder, Recorder and
// Observer may be nil: nothing is bent, replayed, recorded or reported then.
type Options struct {
	// Upstream reaches the real dependencies. nil where nothing may go out.
	Upstream  wire.RoundTripper
	Planner   Planner
	Responder Responder
	OnMiss    MissPolicy
	Recorder  Recorder
	Observer  Observer

	// Rhythm plays cassettes at the recorded pace; without it answers come at
	// once, but for a stub's own delay.
	Rhythm bool
	// Speed divides the recorded times; 0 means 1.
	Speed float64
	// ServerTiming adds a Server-Timing field that names the rules that fired
	// and splits the time.
	ServerTiming bool
	// BodyLimit bounds the bytes of a request's body that are held in memory
	// for rules and matchers which ask for it; 0 means 16 MiB. What is beyond
	// it still flows, unseen by them.
	BodyLimit int
	// Log gets what people should hear of; nil for nothing.
	Log *zap.Logger
	// Start is the zero of the run's clock; the zero value means now.
	Start time.Time
}

// Pipeline is the one way that every exchange takes, whatever door it came
// through. It is used by many goroutines at once and holds none of its own.
type Pipeline struct {
	o    Options
	ids  atomic.Uint64
	load load
}

// NewPipeline returns a pipeline.
func NewPipeline(o Options) *Pipeline {
	if o.Speed == 0 {
		o.Speed = 1
	}
	if o.BodyLimit == 0 {
		o.BodyLimit = 16 << 20
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	return &Pipeline{o: o}
}

// InFlight returns how many exchanges are open.
func (p *Pipeline) InFlight() int { return int(p.load.inFlight.Load()) }

// visit is one exchange's way through the pipeline.
type visit struct {
	p *Pipeline
	x *Exchange
	w wire.ResponseWriter
	r *wire.Request

	start time.Time // the request's first byte: all times count from it
	body  *bodyTee  // nil where the request has no body
	tape  *tape     // nil where it is not recorded

	// Waits, by whose they are. What is left of the whole is our own.
	client, upstream, injected, paced time.Duration

	perHost *atomic.Int64
	gone    <-chan struct{}
}

// Serve takes one exchange the whole way: read, plan, hold, refuse or break,
// answer from a cassette or from the upstream, record, bend, write, report.
func (p *Pipeline) Serve(ctx context.Context, w wire.ResponseWriter, r *wire.Request, c *wire.Conn) {
	v := p.begin(w, r, c)
	v.finish(v.run(ctx))
}

func (v *visit) run(ctx context.Context) error {
	if err := v.readAhead(); err != nil {
		return v.clientError(err)
	}
	v.plan()
	if err := v.hold(ctx); err != nil {
		return err
	}
	if struck, err := v.strike(ctx); struck {
		return err
	}
	a, err := v.answer(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	v.replan(a)
	return v.relay(ctx, a)
}

// begin opens the books on an exchange. Scheme, Host and Target of r must be
// those of the upstream.
func (p *Pipeline) begin(w wire.ResponseWriter, r *wire.Request, c *wire.Conn) *visit {
	v := &visit{p: p, w: w, r: r, start: r.At}
	elapsed := r.At.Sub(p.o.Start)
	x := &Exchange{Wire: c, Elapsed: max(elapsed, 0)}
	x.ID = p.ids.Add(1)
	x.Conn = c.ID
	x.Client = hostOf(c.Client)
	x.At = r.At
	x.Request = fixtures.Request{
		Proto: r.Proto, Method: r.Method, Scheme: r.Scheme, Host: r.Host, Target: r.Target, Header: r.Header,
	}
	v.perHost = p.load.hostCounter(r.Host)
	x.Times.InFlight = int(p.load.inFlight.Add(1))
	x.Times.InFlightUpstream = int(v.perHost.Add(1))
	x.Rate = p.load.rate.add(x.Elapsed)
	v.x = x
	if r.Body != nil {
		v.body = &bodyTee{src: r.Body, start: v.start}
		v.body.rec.Chunked = r.Chunked
		r.Body = v.body
	}
	if p.o.Observer != nil {
		p.o.Observer.ExchangeBegun(x)
	}
	return v
}

// readAhead holds the request's body in memory where a rule or a matcher asks
// for it, up to the limit.
func (v *visit) readAhead() error {
	o := &v.p.o
	if v.body == nil {
		return nil
	}
	wanted := o.Planner != nil && o.Planner.NeedsBody(v.x) || o.Responder != nil && o.Responder.NeedsBody(v.x)
	if !wanted {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(v.body, int64(o.BodyLimit)))
	if err != nil {
		return err
	}
	v.x.Request.Body.Bytes = data
	v.x.Request.Body.Size = int64(len(data))
	v.body.putBack(data)
	return nil
}

func (v *visit) plan() {
	if v.p.o.Planner == nil {
		return
	}
	v.x.Plan = v.p.o.Planner.Plan(v.x)
	v.fired(nil)
}

// replan asks again where a rule depends on the response's head.
func (v *visit) replan(a *answer) {
	if !v.x.Plan.NeedsResponse {
		return
	}
	before := v.x.Plan.Fired
	v.x.Times.FirstByte = a.firstDue.Sub(v.start)
	v.x.Plan = v.p.o.Planner.PlanResponse(v.x)
	v.fired(before)
}

// fired writes down the rules that fired, and tells of those not in before.
func (v *visit) fired(before []string) {
	v.x.Fired = v.x.Plan.Fired
	if len(v.x.Fired) == len(before) {
		return
	}
	if e := v.p.o.Log.Check(zap.InfoLevel, "rule fired"); e != nil {
		e.Write(zap.Strings("rules", v.x.Fired[len(before):]), zap.String("method", v.x.Request.Method),
			zap.String("host", v.x.Request.Host), zap.String("path", v.x.Request.Path()), zap.Uint64("exchange", v.x.ID))
	}
}

// hold delays the request as the plan says, the time already spent on it deducted.
func (v *visit) hold(ctx context.Context) error {
	if v.x.Plan.HoldRequest <= 0 {
		return nil
	}
	begin := v.start
	if v.body != nil {
		if at, ended := v.body.ended(); ended {
			begin = at
		}
	}
	return v.wait(ctx, begin.Add(v.x.Plan.HoldRequest), &v.injected)
}

// finish closes the books.
func (v *visit) finish(err error) {
	p, x := v.p, v.x
	whole := time.Since(v.start)
	if v.body != nil {
		rec, at := v.body.close()
		rec.Bytes = x.Request.Body.Bytes
		x.Request.Body = rec
		x.Times.RequestRead = at
		if v.r.Trailer != nil && !rec.CutShort {
			x.Request.Trailer = v.r.Trailer()
		}
		v.client += v.body.waited
	}
	x.Total, x.Upstream = whole, v.upstream
	x.Times.Injected = v.injected
	x.Times.Own = max(0, whole-v.client-v.upstream-v.injected-v.paced)
	if err != nil {
		x.Error = err.Error()
		if x.Outcome == fixtures.OutcomeComplete {
			x.Outcome = fixtures.OutcomeClient
		}
	}
	p.load.inFlight.Add(-1)
	v.perHost.Add(-1)
	if v.tape != nil {
		v.tape.done(x)
	}
	if p.o.Observer != nil {
		p.o.Observer.ExchangeDone(x)
	}
}

// wait sleeps until at and books the time to whom it belongs. It returns an
// error when the client leaves or ctx ends.
func (v *visit) wait(ctx context.Context, at time.Time, book *time.Duration) error {
	now := time.Now()
	if !at.After(now) {
		return nil
	}
	err := timing.SleepUntil(ctx, v.watch(), at)
	*book += time.Since(now)
	if err != nil {
		v.x.Outcome = fixtures.OutcomeClient
		return errors.New("client left while held")
	}
	return nil
}

// watch returns a channel that closes when the client leaves; nil (never)
// while its body is still on the way.
func (v *visit) watch() <-chan struct{} {
	if v.gone == nil {
		if v.body != nil {
			if _, ended := v.body.ended(); !ended {
				return nil
			}
		}
		v.gone = v.w.Gone()
	}
	return v.gone
}

// clientError ends an exchange whose request could not be read.
func (v *visit) clientError(err error) error {
	v.x.Outcome = fixtures.OutcomeClient
	_ = v.w.Break(wire.Break{Kind: wire.Abort})
	return err
}

// hostOf returns an address without its port.
func hostOf(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.IP.String()
	}
	if a == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

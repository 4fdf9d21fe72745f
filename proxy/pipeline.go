package proxy

import (
	"context"
	"fmt"
	"io"
	"sync"
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
	// Draining is closed when the run ends: exchanges that a rule keeps hanging
	// end with it, and connections that switched protocols. nil where there is no
	// such moment.
	Draining <-chan struct{}
}

// Pipeline is the one way that every exchange takes, whatever door it came
// through. It is used by many goroutines at once and holds none of its own.
type Pipeline struct {
	o    Options
	ids  atomic.Uint64
	load load
	lead *timing.Lead // of answers that are held: what making one ready takes
	// waits is set once an answer was held: from then on requests' times are to
	// be exact from a connection's beginning.
	waits atomic.Bool
	cut   atomic.Bool // the run is over, and what is still under way is broken off
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
	return &Pipeline{o: o, lead: timing.NewLead()}
}

// InFlight returns how many exchanges are open.
func (p *Pipeline) InFlight() int { return int(p.load.inFlight.Load()) }

// visit is one exchange's way through the pipeline.
type visit struct {
	p *Pipeline
	x *Exchange // &ex
	w wire.ResponseWriter
	r *wire.Request

	start time.Time // the request's first byte: all times count from it
	begun time.Time // when the books on it were opened; zero where it has a body
	ready time.Time // the end of what the rules held the request for; zero where they did not
	body  *bodyTee  // nil where the request has no body
	sends bool      // the upstream may be reading the body on a goroutine of its own
	tape  *tape     // &taping; nil where it is not recorded

	// Waits, by whose they are: the client's, the upstream's, a rule's, and those of
	// a recording's pace or a stub's delay. What is left of the whole is our own.
	client, upstream, injected, paced time.Duration
	own                               ownTime
	late                              lateness
	served                            time.Time // when the client was done with; zero: at the end

	perHost *atomic.Int64

	// What most visits need, in one piece of memory that others use again: see free.
	ex      Exchange
	out     wire.Request // as it goes upstream
	reply   upstreamBody
	ans     answer
	bend    bend
	taping  tape
	headers struct{ out, in fixtures.Header } // arrays: the request's to the upstream, the response's to the client
	bound   bound
}

// bound are a visit's own functions, made once: each would be an allocation.
type bound struct {
	inform func(status int, h fixtures.Header)
	next   func() ([]byte, time.Time, error)
	shut   func()
	keep   func(post func()) error
}

var visitPool = sync.Pool{New: func() any {
	v := &visit{}
	v.bound = bound{inform: v.inform, next: v.reply.next, shut: v.reply.close, keep: v.keep}
	return v
}}

// framesPooled is how many frames of a body a pooled visit may keep room for.
const framesPooled = 64

// free lets others use v's memory, unless somebody may still hold some of it:
// who reads a body on a goroutine of its own, or was in the middle of something that
// went wrong.
func (v *visit) free(err error) {
	if err != nil || v.body != nil || v.x.Outcome != fixtures.OutcomeComplete || v.ans.switched != nil {
		return
	}
	var frames []fixtures.Frame
	if v.ans.live { // else they are a recording's
		b, ok := v.reply.resp.Body.(interface{ Release() })
		if !ok {
			return // the engine below may still look at v.out
		}
		b.Release()
		if f := v.ex.Response.Body.Frames; cap(f) <= framesPooled {
			frames = f[:0]
		}
	}
	h := v.headers
	clear(h.out[:cap(h.out)])
	clear(h.in[:cap(h.in)])
	bound := v.bound
	*v = visit{} // cleared where it stands: with fields it would be made elsewhere, and copied
	v.bound = bound
	v.headers.out, v.headers.in = h.out[:0], h.in[:0]
	v.ex.Response.Body.Frames = frames
	visitPool.Put(v)
}

// Serve takes one exchange the whole way: read, plan, hold, refuse or break,
// answer from a cassette or from the upstream, record, bend, write, report.
func (p *Pipeline) Serve(ctx context.Context, w wire.ResponseWriter, r *wire.Request, c *wire.Conn) {
	v := p.begin(w, r, c)
	var err error
	defer func() {
		if panicked := recover(); panicked != nil { // a defect in one exchange must not end the others
			err = v.panicked(panicked)
		}
		v.finish(err)
		v.free(err)
	}()
	err = v.run(ctx)
}

func (v *visit) run(ctx context.Context) error {
	if v.body != nil {
		if err := v.readAhead(); err != nil {
			return v.clientError(err)
		}
		v.turn(fixtures.StagePlan, v.now())
	}
	v.plan()
	if err := v.hold(ctx); err != nil {
		return err
	}
	if struck, err := v.strike(ctx, nil); struck {
		return err
	}
	a, err := v.answer(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	if err := v.replan(ctx, a); err != nil {
		return err
	}
	if a.fault != nil && v.x.Plan.Fault == nil {
		v.x.Plan.Fault = a.fault
	}
	if struck, err := v.strike(ctx, a); struck {
		v.salvage(a)
		return err
	}
	return v.relay(ctx, a)
}

// begin opens the books on an exchange. Scheme, Host and Target of r must be
// those of the upstream.
func (p *Pipeline) begin(w wire.ResponseWriter, r *wire.Request, c *wire.Conn) *visit {
	v := visitPool.Get().(*visit)
	v.p, v.w, v.r, v.start = p, w, r, r.At
	x := &v.ex
	x.Wire, x.Elapsed = c, max(r.At.Sub(p.o.Start), 0)
	x.ID = p.ids.Add(1)
	x.Conn = c.ID
	x.Client = c.From
	x.At = r.At
	x.Request = fixtures.Request{
		Proto: r.Proto, Method: r.Method, Scheme: r.Scheme, Host: r.Host, Target: r.Target, Header: r.Header,
	}
	v.perHost = p.load.hostCounter(r.Host)
	x.Times.InFlight = int(p.load.inFlight.Add(1))
	x.Times.InFlightUpstream = int(v.perHost.Add(1))
	x.Rate = p.load.rate.add(x.Elapsed)
	v.x = x
	v.own.since, v.client = v.start, r.Waited
	if r.Body != nil {
		v.body = newBodyTee(r, w.Watch)
		r.Body = v.body
	} else {
		v.begun = v.now()
		x.Times.RequestRead = max(v.begun.Sub(v.start), 1)
		v.turn(fixtures.StagePlan, v.begun)
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
	wanted := o.Planner != nil && o.Planner.NeedsBody(v.x) || o.Responder != nil && o.Responder.NeedsBody(v.x)
	if !wanted {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(v.body, int64(o.BodyLimit)))
	v.client += v.body.waitedFor()
	if err != nil {
		return err
	}
	v.x.Request.Body.Bytes = data
	v.x.Request.Body.Size = int64(len(data))
	if len(data) == o.BodyLimit && v.r.Length > int64(len(data)) {
		v.x.Request.Body.Size = v.r.Length // so that a miss can tell why
	}
	v.body.putBack(data)
	return nil
}

// cutOff is told before connections are closed although exchanges are under way, as the
// run is over. p may be nil.
func (p *Pipeline) cutOff(log *zap.Logger, door string) {
	if p == nil {
		return
	}
	p.cut.Store(true)
	if n := p.InFlight(); n > 0 {
		log.Warn("the time for what was under way is over: it is broken off", zap.String("door", door), zap.Int("in_flight", n))
	}
}

// finish closes the books.
func (v *visit) finish(err error) {
	p, x := v.p, v.x
	if v.served.IsZero() {
		v.served = v.now()
	}
	if v.body != nil {
		if err == nil {
			v.hearOut()
		}
		rec, at := v.body.close()
		rec.Bytes = x.Request.Body.Bytes
		x.Request.Body = rec
		x.Times.RequestRead = at
		if v.r.Trailer != nil && !rec.CutShort {
			x.Request.Trailer = v.r.Trailer()
		}
	}
	x.Total, x.Upstream, x.ClientTime, x.Paced = v.served.Sub(v.start), v.upstream, v.client, v.paced
	x.Times.Injected = v.injected + v.paced
	x.Own = v.ownUntil(v.served)
	x.Times.Own = x.Own.Sum()
	x.Delayed, x.DelayError = v.late.asked, v.late.by
	if err != nil {
		x.Error = err.Error()
		if x.Outcome == fixtures.OutcomeComplete {
			x.Outcome = fixtures.OutcomeClient
		}
		if x.Outcome == fixtures.OutcomeClient && p.cut.Load() {
			x.Outcome, x.Error = fixtures.OutcomeStopped, "the run ended, and its time for what was under way was over"
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

// lateBody bounds how much of a request's body is still waited for, and how long,
// once its answer has ended.
const (
	lateBody = 256 << 10
	lateWait = time.Second
)

// hearOut has a recording know the whole of a request that was answered before its
// body was read: without it, the same request is hard to know again.
func (v *visit) hearOut() {
	if v.tape == nil || v.x.Outcome != fixtures.OutcomeComplete || v.r.Header.Has("Expect") { // who expects may never send it
		return
	}
	if _, over := v.body.ended(); over || v.body.failed() != nil {
		return
	}
	heard := make(chan struct{})
	go func(b *bodyTee) { // ends with the body, which ends at the latest with its handler
		defer close(heard)
		b.readOn(lateBody)
	}(v.body)
	enough := time.NewTimer(lateWait)
	defer enough.Stop()
	select {
	case <-heard:
	case <-enough.C:
	}
}

// clientError ends an exchange whose request could not be read.
func (v *visit) clientError(err error) error {
	v.x.Outcome = fixtures.OutcomeClient
	_ = v.w.Break(wire.Break{Kind: wire.Abort}) // it may be gone already
	return err
}

// panicked breaks off an exchange in which we failed ourselves.
func (v *visit) panicked(what any) error {
	v.p.o.Log.Error("panic in an exchange", zap.Any("panic", what), zap.Stack("stack"),
		zap.String("method", v.x.Request.Method), zap.String("host", v.x.Request.Host), zap.String("path", v.x.Request.Path()))
	v.x.Outcome = fixtures.OutcomeInternal
	_ = v.w.Break(wire.Break{Kind: wire.Abort}) // fails where the exchange had ended
	return fmt.Errorf("internal error: %v", what)
}

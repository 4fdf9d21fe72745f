package app

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy"
	"github.com/understudy-proxy/understudy/proxy/wire"
	"github.com/understudy-proxy/understudy/rules"
)

// planner lets the rules decide for the pipeline.
type planner struct {
	engine *rules.Engine
	start  time.Time // zero of the run's clock
	gate   *gatekeeper
	link   *atomic.Pointer[shaped] // into whose classes connections are put; nil for none
}

func (p planner) Door(c *wire.Conn, host string) (fixtures.Refusal, string) {
	number, refusal, rule := p.gate.arrived(c)
	if refusal != fixtures.RefuseNone {
		return refusal, rule
	}
	return p.engine.Door(&rules.Arrival{
		Conn: number, Client: clientOf(c.Client), Door: c.Door, Host: host, Elapsed: time.Since(p.start),
	})
}

func (p planner) NeedsBody(x *proxy.Exchange) bool { return p.engine.NeedsBody(&x.Request) }

func (p planner) Plan(x *proxy.Exchange) fixtures.Plan {
	in := input(x)
	defer release(in)
	plan := p.engine.Plan(in)
	p.move(x, plan.Link, "")
	return plan
}

func (p planner) PlanResponse(x *proxy.Exchange) fixtures.Plan {
	in := input(x)
	defer release(in)
	in.Response = &x.Response
	in.TTFB = max(0, x.Times.FirstByte-x.Times.RequestRead)
	plan := p.engine.PlanResponse(in, x.Plan)
	p.move(x, plan.Link, x.Plan.Link)
	return plan
}

// move puts an exchange's connection into a class, unless it was before.
func (p planner) move(x *proxy.Exchange, class, before string) {
	if class != before && p.link != nil {
		p.link.Load().move(x.Wire, class)
	}
}

// inputs saves an allocation per exchange: the engine keeps none of them.
var inputs = sync.Pool{New: func() any { return new(rules.Input) }}

func release(in *rules.Input) {
	*in = rules.Input{}
	inputs.Put(in)
}

func input(x *proxy.Exchange) *rules.Input {
	in := inputs.Get().(*rules.Input)
	*in = rules.Input{
		Request: &x.Request, Body: x.Request.Body.Bytes,
		Client: x.Client, Door: x.Wire.Door,
		InFlight: x.Times.InFlight, Rate: x.Rate, Elapsed: x.Elapsed,
	}
	return in
}

// clientOf returns an address without its port.
func clientOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	if host, _, err := net.SplitHostPort(a.String()); err == nil {
		return host
	}
	return a.String()
}

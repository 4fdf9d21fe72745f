package app

import (
	"net"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/admin"
	"github.com/understudy-proxy/understudy/internal/telemetry"
	"github.com/understudy-proxy/understudy/proxy"
	"github.com/understudy-proxy/understudy/proxy/wire"
	"github.com/understudy-proxy/understudy/recorder"
)

// tapes lets the recorder record for the pipeline.
type tapes struct{ *recorder.Recorder }

func (t tapes) Begin(x *proxy.Exchange) proxy.Tape {
	if tape := t.Recorder.Begin(&x.Exchange); tape != nil {
		return tape
	}
	return nil // not a nil *Tape in a non-nil interface
}

// books are told of every connection and exchange: the ledger, the metrics, the
// live view of the admin API, and the access log.
type books struct {
	ledger    *recorder.Ledger
	metrics   *telemetry.Metrics
	exchanges *admin.Ring[admin.Exchange]
	missed    *admin.Ring[admin.Miss]
	access    *zap.Logger // nil where exchanges are not logged
	gate      *gatekeeper
	link      *atomic.Pointer[shaped] // a captured command's; nil for none
	wake      func()                  // told that work begins; nil where nobody wants to know

	finished, misses, faults atomic.Uint64
}

func (b *books) ConnOpened(*wire.Conn) {
	b.begins() // nothing else tells of a TLS handshake, or of bytes that are passed unread
	b.ledger.ConnOpened()
}

func (b *books) ConnClosed(c *wire.Conn, end proxy.ConnEnd) {
	b.ledger.ConnClosed(recorder.Connection{
		Door: c.Door, Client: clientOf(c.Client), Host: end.Host, Protocol: end.Protocol,
		Fate: recorder.Fate(end.Fate), Reason: end.Reason, Rule: end.Rule, Untrusted: end.Untrusted, BytesIn: end.BytesIn, BytesOut: end.BytesOut,
	})
	b.metrics.Connection(string(end.Fate))
	b.firedAtDoor(end.Rule)
	b.gate.left(c)
	if b.link != nil {
		b.link.Load().left(c)
	}
}

func (b *books) begins() {
	if b.wake != nil {
		b.wake()
	}
}

// refused books a connection that was refused before it was made, and why: by a rule,
// or by none.
func (b *books) refused(client, host, reason, rule string) {
	b.ledger.ConnOpened()
	b.ledger.ConnClosed(recorder.Connection{
		Door: doorOfCommand, Client: client, Host: host, Fate: recorder.Refused, Reason: reason, Rule: rule,
	})
	b.metrics.Connection(string(recorder.Refused))
	b.firedAtDoor(rule)
}

// resolved books a name that a captured command asked for.
func (b *books) resolved(p *fixtures.NamePlan) {
	b.ledger.Resolved(p)
	b.metrics.Fired(p.Fired...)
}

// firedAtDoor counts the rule that refused a connection; the ledger has it with that.
func (b *books) firedAtDoor(rule string) {
	if rule != "" {
		b.metrics.Fired(rule)
	}
}

func (b *books) ExchangeBegun(x *proxy.Exchange) {
	b.begins() // on connections that were kept, perhaps for long
	b.metrics.Begin(x.Request.Method, x.Request.Scheme)
}

func (b *books) ExchangeDone(x *proxy.Exchange) {
	b.finished.Add(1)
	switch {
	case x.Outcome == fixtures.OutcomeFault:
		b.faults.Add(1)
	case isMiss(x):
		b.misses.Add(1)
	}
	t := &x.Times
	source := sourceOf(x)
	b.ledger.Finish(&recorder.Entry{
		Host: x.Request.Host, Protocol: x.Request.Proto, Outcome: x.Outcome, Source: source, Fired: x.Fired,
		Upstream: x.Upstream, Injected: t.Injected, Own: t.Own, Stages: x.Own, Delayed: x.Delayed, DelayError: x.DelayError,
	})
	b.observe(x, source)
	b.show(x)
	if b.access != nil {
		if e := b.access.Check(zap.InfoLevel, "exchange"); e != nil {
			e.Write(zap.Uint64("id", x.ID), zap.String("method", x.Request.Method), zap.String("host", x.Request.Host),
				zap.String("path", x.Request.Path()), zap.Int("status", x.Response.Status), zap.String("outcome", outcomeName(x.Outcome)),
				zap.String("source", x.Source), zap.Duration("total", x.Total), zap.Duration("upstream", x.Upstream),
				zap.Duration("injected", t.Injected), zap.Duration("own", t.Own), zap.Duration("client_wait", x.ClientTime), zap.Strings("rules", x.Fired))
		}
	}
}

// isMiss reports whether replay had no answer: none was found, or none that could be played.
func isMiss(x *proxy.Exchange) bool { return x.Miss != nil || x.Outcome == fixtures.OutcomeMiss }

func (b *books) observe(x *proxy.Exchange, source recorder.Source) {
	e := &telemetry.Exchange{
		Method: x.Request.Method, Scheme: x.Request.Scheme, Proto: x.Request.Proto, Path: x.Request.Target,
		Status: x.Response.Status, Outcome: string(x.Outcome), Source: kindOf(x),
		Duration: x.Total, Upstream: x.Upstream, Injected: x.Times.Injected - x.Paced, Paced: x.Paced,
		Own: x.Times.Own, Stages: x.Own, Delayed: x.Delayed, DelayError: x.DelayError,
		RequestBytes: x.Request.Body.Size, ResponseBytes: x.Response.Body.Size, Fired: x.Fired,
	}
	if x.Outcome != fixtures.OutcomeComplete {
		e.ErrorType = string(x.Outcome)
	}
	if source == recorder.SourceUpstream {
		e.UpstreamHost, e.UpstreamPort = hostPort(x.Request.Scheme, x.Request.Host)
	}
	b.metrics.Observe(e)
}

func (b *books) show(x *proxy.Exchange) {
	b.exchanges.PushFunc(func(to *admin.Exchange) {
		*to = admin.Exchange{}
		to.ID, to.At, to.Client, to.Method, to.Proto = x.ID, x.At, x.Client, x.Request.Method, x.Request.Proto
		to.Scheme, to.Host, to.Target = x.Request.Scheme, x.Request.Host, x.Request.Target
		to.Status, to.Outcome, to.Error, to.Source = x.Response.Status, outcomeName(x.Outcome), x.Error, x.Source
		to.DurationSeconds, to.UpstreamSeconds = x.Total.Seconds(), x.Upstream.Seconds()
		to.InjectedSeconds, to.PacedSeconds, to.ClientSeconds = x.Times.Injected.Seconds(), x.Paced.Seconds(), x.ClientTime.Seconds()
		to.OwnSeconds, to.OwnStages = x.Times.Own.Seconds(), ownStages(&x.Own)
		to.Delayed, to.DelayErrorSeconds = x.Delayed, x.DelayError.Seconds()
		to.RequestBytes, to.ResponseBytes = x.Request.Body.Size, x.Response.Body.Size
		to.Rules, to.Recorded = x.Fired, x.Recording
	})
	if !isMiss(x) {
		return
	}
	miss := admin.Miss{At: x.At, Method: x.Request.Method, URL: x.Request.URL(), Forwarded: x.Source == "upstream", Differences: []admin.Difference{}}
	if x.Miss == nil {
		miss.Nearest = x.Source // was found
	} else {
		miss.Nearest = x.Miss.Nearest
		for _, d := range x.Miss.Differences {
			miss.Differences = append(miss.Differences, admin.Difference(d))
		}
	}
	b.missed.Push(miss)
}

func ownStages(o *fixtures.OwnTimes) admin.OwnStages {
	return admin.OwnStages{
		Read: o[fixtures.StageRead].Seconds(), Plan: o[fixtures.StagePlan].Seconds(), Send: o[fixtures.StageSend].Seconds(),
		Answer: o[fixtures.StageAnswer].Seconds(), Write: o[fixtures.StageWrite].Seconds(),
	}
}

// sourceOf is who answered, as the ledger has it.
func sourceOf(x *proxy.Exchange) recorder.Source {
	switch {
	case x.Source == "upstream" && x.Outcome == fixtures.OutcomeUpstream && x.Response.Status == 0:
		return recorder.SourceNobody // it was asked, and did not answer
	case x.Source == "upstream":
		return recorder.SourceUpstream
	case x.Source == "rule":
		return recorder.SourceFault
	case x.Source != "":
		return recorder.SourceHit
	case x.Outcome == fixtures.OutcomeMiss:
		return recorder.SourceMiss
	}
	return recorder.SourceNobody
}

// kindOf is who answered, as a metric's label has it: a small set of words.
func kindOf(x *proxy.Exchange) string {
	switch {
	case x.Source == "upstream", x.Source == "rule", x.Source == "":
		return x.Source
	case x.Stub:
		return "stub"
	}
	return "cassette"
}

func outcomeName(o fixtures.Outcome) string {
	if o == fixtures.OutcomeComplete {
		return "complete"
	}
	return string(o)
}

// hostPort splits an authority, with the scheme's port where it names none.
func hostPort(scheme, authority string) (host, port string) {
	if strings.IndexByte(authority, ':') >= 0 { // else an error would be made for it (TestRulesAllocateNothing)
		if h, p, err := net.SplitHostPort(authority); err == nil {
			return h, p
		}
	}
	if scheme == "https" {
		return authority, "443"
	}
	return authority, "80"
}

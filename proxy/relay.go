package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// relay writes an answer to the client: in its own rhythm, held, slowed and
// broken as the plan says.
func (v *visit) relay(ctx context.Context, a *answer) error {
	plan := &v.x.Plan
	if f := plan.Fault; f != nil && f.Kind == fixtures.FaultStatus && v.x.Outcome != fixtures.OutcomeFault {
		a = v.replaced(a, f)
	}
	for _, inf := range a.informs {
		if err := v.wait(ctx, a.base.Add(inf.At), &v.paced); err != nil {
			return err
		}
		if err := v.w.Inform(inf.Status, inf.Header); err != nil {
			return err
		}
	}
	if err := v.wait(ctx, a.firstDue, &v.paced); err != nil {
		return err
	}
	if plan.HoldFirstByte > 0 {
		if err := v.wait(ctx, a.firstDue.Add(plan.HoldFirstByte), &v.injected); err != nil {
			return err
		}
	}
	if v.x.Times.FirstByte == 0 && !a.live {
		v.x.Times.FirstByte = max(time.Since(v.start), 1)
	}
	b := newBend(plan, a.head.Length)
	a.head.Header = v.headerFor(a)
	if struck, err := v.malform(a, b); struck {
		return err
	}
	if err := v.w.WriteHead(&a.head); err != nil {
		return err
	}
	if ended, err := v.relayBody(ctx, a, b); ended || err != nil {
		return err
	}
	if f := plan.Fault; f != nil && f.Where == fixtures.WhereAfterResponse {
		v.x.Outcome = fixtures.OutcomeFault
		if err := v.w.Flush(); err != nil {
			return err
		}
		return v.w.Break(breakFor(f))
	}
	var trailer fixtures.Header
	if a.trailer != nil {
		trailer = a.trailer()
	}
	return v.w.Finish(trailer)
}

// replaced is the answer of a fault that was decided at the response's head.
// What it replaces is read to its end, so that it is recorded whole.
func (v *visit) replaced(a *answer, f *fixtures.Fault) *answer {
	for {
		if _, _, err := a.next(); err != nil {
			break
		}
	}
	was := v.x.Response
	local := v.local(f)
	local.firstDue = a.firstDue
	v.x.Response, v.x.Outcome = was, fixtures.OutcomeFault
	return local
}

// relayBody writes the body. It reports whether the exchange has ended with
// it, broken; else nothing but Finish is left to do.
func (v *visit) relayBody(ctx context.Context, a *answer, b *bend) (ended bool, err error) {
	if v.bodiless(a) {
		return false, nil
	}
	var sent int64
	for {
		part, due, err := a.next()
		if len(part) > 0 {
			if !due.IsZero() {
				if werr := v.wait(ctx, due, &v.paced); werr != nil {
					return true, werr
				}
			}
			sent += int64(len(part))
			if !a.live {
				v.x.Response.Body.Size = sent
			}
			// The last part of a body of known length goes out with Finish: one write.
			last := errors.Is(err, io.EOF) || a.head.Length >= 0 && sent >= a.head.Length
			if werr := v.writePart(ctx, b, part, last); werr != nil {
				return true, werr
			}
		}
		switch {
		case b.cut, errors.Is(err, io.EOF) && b.breaks():
			return true, v.breakBody(b)
		case errors.Is(err, io.EOF):
			if !a.live {
				v.x.Times.End = time.Since(v.start)
			}
			return false, nil
		case err != nil:
			return true, v.upstreamBroke(a, err)
		}
	}
}

// bodiless reports whether no body can follow the head (RFC 9110, 6.4.1).
func (v *visit) bodiless(a *answer) bool {
	s := a.head.Status
	if v.r.Method != "HEAD" && s != 204 && s != 304 {
		return false
	}
	if a.live { // read to its end, so that the connection can serve again
		if _, _, err := a.next(); err != nil && !errors.Is(err, io.EOF) {
			v.x.Error = err.Error()
		}
	}
	return true
}

// writePart writes a part of the body in the pieces that the plan wants.
func (v *visit) writePart(ctx context.Context, b *bend, part []byte, last bool) error {
	if b.idle() {
		return v.write(part, last)
	}
	for len(part) > 0 && !b.cut {
		piece, at := b.take(&part)
		if !at.IsZero() {
			if err := v.wait(ctx, at, &v.injected); err != nil {
				return err
			}
		}
		if len(piece) > 0 {
			if err := v.write(b.corrupted(piece), last && len(part) == 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *visit) write(p []byte, last bool) error {
	if _, err := v.w.Write(p); err != nil {
		return err
	}
	if last {
		return nil
	}
	return v.w.Flush()
}

// breakBody ends a body in its middle as the plan says.
func (v *visit) breakBody(b *bend) error {
	v.x.Outcome = fixtures.OutcomeFault
	if err := v.w.Flush(); err != nil {
		return err
	}
	return v.w.Break(breakFor(b.fault))
}

// upstreamBroke passes a broken upstream body on as a broken body.
func (v *visit) upstreamBroke(a *answer, err error) error {
	v.x.Outcome = fixtures.OutcomeUpstream
	v.x.Error = err.Error()
	if v.gone != nil {
		select {
		case <-v.gone:
			v.x.Outcome = fixtures.OutcomeClient
		default:
		}
	}
	if !a.live {
		v.x.Outcome = fixtures.OutcomeComplete // broken off as it was recorded
		v.x.Error = ""
	}
	if ferr := v.w.Flush(); ferr != nil {
		return ferr
	}
	return v.w.Break(wire.Break{Kind: wire.Abort})
}

// headerFor is the header that the client gets.
func (v *visit) headerFor(a *answer) fixtures.Header {
	h := endToEnd(a.head.Header, v.x.Plan.EditResponse)
	if !v.p.o.ServerTiming {
		return h
	}
	h = h.Clone()
	h.Add("Server-Timing", v.serverTiming())
	return h
}

// serverTiming tells the client what its time went into so far (W3C Server
// Timing; durations in milliseconds).
func (v *visit) serverTiming() string {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	own := max(0, time.Since(v.start)-v.upstream-v.injected-v.paced)
	s := fmt.Sprintf("own;dur=%.3f, upstream;dur=%.3f, injected;dur=%.3f", ms(own), ms(v.upstream), ms(v.injected))
	for _, name := range v.x.Fired {
		s += `, rule;desc="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(oneLine(name)) + `"`
	}
	return s
}

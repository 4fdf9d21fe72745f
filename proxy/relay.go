package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// relay writes an answer to the client: in its own rhythm, held, slowed and
// broken as the plan says.
func (v *visit) relay(ctx context.Context, a *answer) error {
	for _, inf := range a.informs {
		if err := v.settle(ctx, a, a.first-inf.At); err != nil {
			return err
		}
		if err := v.wait(ctx, a.base.Add(inf.At), &v.paced); err != nil {
			return err
		}
		if err := v.w.Inform(inf.Status, inf.Header); err != nil {
			return err
		}
	}
	if err := v.due(ctx, a); err != nil {
		return err
	}
	if !a.live {
		at := v.now()
		v.turn(fixtures.StageWrite, at)
		if !a.instead {
			v.x.Times.FirstByte = max(v.handedOver(at).Sub(v.start), 1)
		}
	}
	v.bend = newBend(&v.x.Plan, a.head.Length)
	b := &v.bend
	a.head.Header = v.headerFor(a)
	if struck, err := v.malform(a); struck {
		v.salvage(a)
		return err
	}
	if a.switched != nil {
		return v.switchProtocols(ctx, a)
	}
	if err := v.w.WriteHead(&a.head); err != nil {
		return v.cannotWrite(a, err)
	}
	if ended, err := v.relayBody(ctx, a, b); ended || err != nil {
		return err
	}
	return v.conclude(a)
}

// due waits until an answer's first byte may go out, or can be made ready: see meet.
func (v *visit) due(ctx context.Context, a *answer) error {
	if err := v.settle(ctx, a, 0); err != nil {
		return err
	}
	first, total := v.x.Plan.HoldFirstByte, v.x.Plan.HoldTotal
	if a.paced && first <= 0 && total <= 0 {
		return v.appoint(ctx, a.firstDue, &v.paced, false)
	}
	if a.paced {
		if err := v.delay(ctx, a.firstDue, &v.paced); err != nil {
			return err
		}
	}
	at, further := a.firstDue.Add(max(first, 0)), a.live
	if total > 0 {
		if total := v.requestEnd().Add(total); total.After(at) {
			at, further = total, false
		}
	}
	if !at.After(a.firstDue) {
		return nil // the total is over, by what the answer took to come
	}
	if v.reply.resp != nil {
		v.reply.hold()
	}
	return v.appoint(ctx, at, &v.injected, further)
}

func (v *visit) trailerOf(a *answer) fixtures.Header {
	if a.trailer == nil {
		return nil
	}
	return a.trailer()
}

// conclude ends an answer that was written whole.
func (v *visit) conclude(a *answer) error {
	trailer := v.trailerOf(a)
	f := v.x.Plan.Fault
	if f == nil || f.Kind != fixtures.FaultReset || f.Where != fixtures.WhereAfterResponse {
		return v.end(trailer)
	}
	v.x.Outcome = fixtures.OutcomeFault
	// In HTTP/2 nothing can be reset once it has ended; in HTTP/1 the
	// connection can, and the answer would not be whole without its end.
	last := v.flush
	if v.r.Proto != "HTTP/2.0" {
		last = func() error { return v.end(trailer) }
	}
	if err := last(); err != nil {
		return err
	}
	return v.w.Break(breakFor(f))
}

// relayBody writes the body. It reports whether the exchange has ended with
// it, broken; else nothing but its end is left to do.
func (v *visit) relayBody(ctx context.Context, a *answer, b *bend) (ended bool, err error) {
	bodiless := v.r.Method == "HEAD" || a.head.Status == 204 || a.head.Status == 304 // RFC 9110, 6.4.1
	if bodiless && !a.live {
		a.next = func() ([]byte, time.Time, error) { return nil, time.Time{}, io.EOF }
	}
	if a.live && !bodiless && !v.reply.there() {
		if err := v.flush(); err != nil { // the head must not wait for the body
			return true, err
		}
	}
	var sent int64
	for {
		part, due, err := a.next()
		if err == io.EOF && b.idle() && v.x.Plan.Fault == nil && len(part) > 0 {
			return true, v.last(ctx, a, part, due, sent)
		}
		if len(part) > 0 {
			if werr := v.pause(ctx, due, &v.paced); werr != nil {
				return true, werr
			}
			sent += int64(len(part))
			if !a.live && !a.instead {
				v.x.Response.Body.Size = sent
			}
			if werr := v.writePart(ctx, b, part); werr != nil {
				return true, werr
			}
		}
		// The last part of a body of known length goes out with its end: one write.
		// Recorded parts go out when there is something to wait for.
		last := err != nil || a.head.Length >= 0 && sent >= a.head.Length
		switch {
		case b.cut, errors.Is(err, io.EOF) && b.breaks():
			return true, v.breakBody(a, b)
		case errors.Is(err, io.EOF):
			if !a.live && !a.instead {
				v.over(v.now())
			}
			return false, nil
		case err != nil:
			return true, v.brokenOff(ctx, a, err)
		case a.live && !last:
			if err := v.flush(); err != nil {
				return true, err
			}
		}
	}
}

// last writes the last part of an answer, which comes after sent bytes, and ends it.
func (v *visit) last(ctx context.Context, a *answer, part []byte, due time.Time, sent int64) error {
	begin := v.reply.at
	if !a.live {
		if err := v.pause(ctx, due, &v.paced); err != nil {
			return err
		}
		begin = v.now()
		if !a.instead {
			v.x.Response.Body.Size = sent + int64(len(part))
			v.over(begin)
		}
	}
	return v.endWith(part, begin, v.trailerOf(a))
}

// writePart writes a part of the body in the pieces that the plan wants.
func (v *visit) writePart(ctx context.Context, b *bend, part []byte) error {
	if b.idle() {
		return v.write(part)
	}
	for b.begin(); len(part) > 0 && !b.cut; {
		piece, at := b.take(&part)
		if err := v.pause(ctx, at, &v.injected); err != nil {
			return err
		}
		if len(piece) == 0 {
			continue
		}
		out, changed := b.corrupted(piece)
		if changed {
			v.x.Outcome = fixtures.OutcomeFault
		}
		if err := v.write(out); err != nil {
			return err
		}
	}
	return nil
}

// breakBody ends a body in its middle as the plan says.
func (v *visit) breakBody(a *answer, b *bend) error {
	v.x.Outcome = fixtures.OutcomeFault
	err := v.flush()
	if err == nil {
		err = v.w.Break(breakFor(b.fault))
	}
	v.salvage(a)
	return err
}

// brokenOff passes a body that broke off on as one.
func (v *visit) brokenOff(ctx context.Context, a *answer, err error) error {
	switch {
	case errors.Is(err, errCutShort):
		err = nil // complete, as far as the recording goes
	case ctx.Err() != nil || v.body != nil && v.body.failed() != nil:
		v.x.Outcome = fixtures.OutcomeClient
		err = fmt.Errorf("the client left: %w", err)
	default:
		v.x.Outcome = fixtures.OutcomeMiss
		if a.live {
			v.x.Outcome = fixtures.OutcomeUpstream
		}
		v.p.o.Log.Warn("answer broke off", zap.Error(err), zap.String("source", v.x.Source),
			zap.String("method", v.x.Request.Method), zap.String("host", v.x.Request.Host), zap.String("path", v.x.Request.Path()))
	}
	berr := v.flush()
	if berr == nil {
		berr = v.w.Break(wire.Break{Kind: wire.Abort})
	}
	if err == nil {
		err = berr
	}
	return err
}

// cannotWrite answers in the place of a head that the client's protocol cannot carry.
func (v *visit) cannotWrite(a *answer, err error) error {
	if isDisconnect(err) || a.instead {
		return err
	}
	if v.x.Outcome == fixtures.OutcomeComplete {
		v.x.Outcome = fixtures.OutcomeMiss
		if a.live {
			v.x.Outcome = fixtures.OutcomeUpstream
		}
	}
	v.p.o.Log.Warn("answer cannot be written", zap.Error(err), zap.String("source", v.x.Source),
		zap.String("method", v.x.Request.Method), zap.String("host", v.x.Request.Host), zap.String("path", v.x.Request.Path()))
	f := problem(502, "answer cannot be written", err.Error(), nil)
	if werr := v.w.WriteHead(&wire.Head{Status: f.Status, Header: f.Header, Length: int64(len(f.Body))}); werr != nil {
		return err
	}
	if v.write(f.Body) == nil {
		_ = v.end(nil) // the cause is what is told
	}
	return err
}

// headerFor is the header that the client gets.
func (v *visit) headerFor(a *answer) fixtures.Header {
	h := endToEnd(a.head.Header, v.x.Plan.EditResponse, &v.headers.in)
	if !v.p.o.ServerTiming {
		return h
	}
	h = h.Clone()
	h.Add("Server-Timing", v.serverTiming())
	return h
}

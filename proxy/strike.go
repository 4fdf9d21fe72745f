package proxy

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// strike carries out a fault that takes the whole answer's place. a is the
// answer that came, nil where nobody was asked yet: nobody is asked then. It
// reports whether the exchange has ended with it.
func (v *visit) strike(ctx context.Context, a *answer) (bool, error) {
	f := v.x.Plan.Fault
	if f == nil || !takesPlace(f) {
		return false, nil
	}
	v.x.Outcome = fixtures.OutcomeFault
	if a == nil {
		v.x.Source = "rule"
	}
	if f.Kind == fixtures.FaultStatus {
		if a == nil {
			return true, v.relay(ctx, v.speak(f))
		}
		words := v.substitute(f)
		words.firstDue, words.paced = a.firstDue, a.paced
		return true, v.relay(ctx, words)
	}
	if a != nil {
		if err := v.due(ctx, a); err != nil {
			return true, err
		}
	}
	if err := v.meet(); err != nil {
		return true, err
	}
	if f.Kind == fixtures.FaultHang {
		return true, v.hang(ctx, f)
	}
	v.turn(fixtures.StageWrite, v.now())
	return true, v.w.Break(breakFor(f))
}

// takesPlace reports whether nothing of the answer passes a fault.
func takesPlace(f *fixtures.Fault) bool {
	switch f.Kind {
	case fixtures.FaultStatus, fixtures.FaultHang, fixtures.FaultClose, fixtures.FaultGoAway, fixtures.FaultRSTStream:
		return true
	case fixtures.FaultReset:
		return f.Where != fixtures.WhereMidBody && f.Where != fixtures.WhereAfterResponse
	}
	return false
}

// forEver is longer than any run.
const forEver = 100 * 365 * 24 * time.Hour

// hang says nothing for as long as the fault wants, or until the client leaves.
func (v *visit) hang(ctx context.Context, f *fixtures.Fault) error {
	until := f.For
	if until == 0 {
		until = forEver
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if v.body != nil && !v.sends && !v.r.Header.HasToken("Expect", "100-continue") {
		// A client whose request is never read could not be seen to leave.
		v.sends = true
		go func() { // ends with the body, which the engine ends after this exchange
			if _, err := io.Copy(io.Discard, v.body); err != nil {
				cancel()
			}
		}()
	}
	begin := v.now()
	v.watch()
	err := timing.SleepUntil(ctx, v.p.o.Draining, begin.Add(until))
	v.injected += v.now().Sub(begin)
	v.turn(fixtures.StageWrite, v.now())
	switch {
	case errors.Is(err, timing.ErrGone):
		err = nil // the run ends
	case err != nil:
		err = errLeft
	}
	v.x.Outcome = fixtures.OutcomeFault
	if berr := v.w.Break(wire.Break{Kind: wire.Close}); err == nil {
		err = berr
	}
	return err
}

// breakFor says how a fault ends an exchange.
func breakFor(f *fixtures.Fault) wire.Break {
	switch f.Kind {
	case fixtures.FaultReset:
		return wire.Break{Kind: wire.Reset, Code: 8} // CANCEL (RFC 9113, 7)
	case fixtures.FaultRSTStream:
		return wire.Break{Kind: wire.Reset, Code: f.Code}
	case fixtures.FaultGoAway:
		return wire.Break{Kind: wire.GoAway, Code: f.Code}
	case fixtures.FaultTruncate:
		return wire.Break{Kind: wire.Abort} // h2: the stream alone
	}
	return wire.Break{Kind: wire.Close}
}

// salvageTime bounds how long the rest of a broken answer is read for the record.
const salvageTime = 5 * time.Second

// salvage reads what is left of an answer that the rules broke, so that it is
// recorded as the upstream gave it. The client has been served by then.
func (v *visit) salvage(a *answer) {
	if v.tape == nil || !a.live || a.switched != nil {
		return
	}
	v.served = v.now()
	upstream := v.upstream
	if a.detach != nil {
		a.detach()
	}
	timer := time.AfterFunc(salvageTime, func() { v.abandon(a) })
	defer timer.Stop()
	for {
		if _, _, err := a.next(); err != nil {
			break
		}
	}
	v.upstream = upstream
}

// abandon ends the upstream's work on a.
func (v *visit) abandon(a *answer) {
	if a.abandon != nil {
		a.abandon()
	}
}

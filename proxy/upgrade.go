package proxy

import (
	"context"
	"fmt"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// switchProtocols passes a 101 on and then carries bytes both ways, until both sides have
// ended or the run does: like other tunnels, it has no end to wait for.
func (v *visit) switchProtocols(ctx context.Context, a *answer) error {
	if err := v.w.WriteHead(&a.head); err != nil {
		return v.cannotWrite(a, err)
	}
	if err := v.meet(); err != nil {
		return err
	}
	client, err := v.w.Hijack()
	if err != nil {
		v.x.Outcome = fixtures.OutcomeUpstream
		_ = v.w.Break(wire.Break{Kind: wire.Abort}) // the error that counts is at hand
		return fmt.Errorf("switch protocols: %w", err)
	}
	v.turn(fixtures.StageWrite, v.now())
	before := v.now()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with ctx, at the latest when the tunnel has
		select {
		case <-v.p.o.Draining:
			stop()
		case <-ctx.Done():
		}
	}()
	_, _, err = tunnel(ctx, client, a.switched)
	end := v.now()
	v.upstream += end.Sub(before)
	v.x.Times.End = end.Sub(v.start)
	if err != nil && (isDisconnect(err) || v.p.draining()) {
		return nil // either side may end it as it likes, and so may the run
	}
	return err
}

// draining reports whether the run ends.
func (p *Pipeline) draining() bool {
	select {
	case <-p.o.Draining:
		return true
	default:
		return false
	}
}

package proxy

import (
	"context"
	"fmt"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// switchProtocols passes a 101 on and then carries bytes both ways.
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
	_, _, err = tunnel(ctx, client, a.switched)
	end := v.now()
	v.upstream += end.Sub(before)
	v.x.Times.End = end.Sub(v.start)
	if err != nil && isDisconnect(err) {
		return nil // either side may end it as it likes
	}
	return err
}

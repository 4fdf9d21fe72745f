package proxy

import (
	"context"
	"time"

	"go.uber.org/zap"
)

func (v *visit) plan() {
	if v.p.o.Planner == nil {
		return
	}
	v.x.Plan = v.p.o.Planner.Plan(v.x)
	v.fired(nil)
}

// replan asks again where a rule depends on the response's head. Words of our
// own are no response.
func (v *visit) replan(ctx context.Context, a *answer) error {
	if !v.x.Plan.NeedsResponse || a.ours {
		return nil
	}
	if err := v.settle(ctx, a, 0); err != nil { // rules see when it is due
		return err
	}
	before := v.x.Plan.Fired
	if !a.live {
		v.x.Times.FirstByte = a.firstDue.Sub(v.start)
	}
	v.x.Plan = v.p.o.Planner.PlanResponse(v.x)
	v.fired(before)
	return nil
}

// fired writes down the rules that fired, and tells of those not in before.
func (v *visit) fired(before []string) {
	v.x.Fired = v.x.Plan.Fired
	if len(v.x.Fired) <= len(before) {
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
	v.ready = v.requestEnd().Add(v.x.Plan.HoldRequest)
	return v.delay(ctx, v.ready, &v.injected)
}

// requestEnd is when the request's last byte was read, or its head's where the
// last has not come yet.
func (v *visit) requestEnd() time.Time {
	if v.body != nil {
		if at, ended := v.body.ended(); ended {
			return at
		}
	}
	return v.start.Add(v.r.Waited)
}

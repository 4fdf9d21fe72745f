package proxy

import (
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

// ownTime is our own time on an exchange, by stage: what is left of each stretch
// once the waits in it are taken off. The stretches are without gaps from the
// request's first byte to the answer's last, so that nothing can be left out. They end at
// moments that are known anyway: the ledger of time costs no look at the clock of
// its own where the upstream is asked, and one in a replay.
type ownTime struct {
	split fixtures.OwnTimes
	stage fixtures.Stage // under way
	since time.Time      // it began
	waits time.Duration  // of the exchange, before it began
}

// now is the time on the clock that the exchange is timed by. It asks the
// monotonic clock alone, at little more than half the price of time.Now.
func (v *visit) now() time.Time { return v.start.Add(time.Since(v.start)) }

// waited is how long the exchange has waited so far, for whomever.
func (v *visit) waited() time.Duration { return v.client + v.upstream + v.injected + v.paced }

// turn ends the stage under way at the given time and begins the next. Waits that
// ended before must have been booked.
func (v *visit) turn(next fixtures.Stage, at time.Time) {
	o, waits := &v.own, v.waited()
	o.split[o.stage] += at.Sub(o.since) - (waits - o.waits)
	o.stage, o.since, o.waits = next, at, waits
}

// ownUntil is our own time up to the given moment, by stage. Waits that lap over
// a stage's end are taken off the stages beside it, so that no part is negative.
func (v *visit) ownUntil(at time.Time) fixtures.OwnTimes {
	split := v.own.split
	split[v.own.stage] += at.Sub(v.own.since) - (v.waited() - v.own.waits)
	var debt time.Duration
	settle := func(d *time.Duration) {
		*d -= debt
		debt = max(0, -*d)
		*d = max(0, *d)
	}
	for i := range split {
		settle(&split[i])
	}
	for i := len(split) - 1; debt > 0 && i >= 0; i-- {
		settle(&split[i])
	}
	return split
}

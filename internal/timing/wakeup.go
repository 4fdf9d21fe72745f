package timing

import "sync/atomic"

// wakeUps is what waking up takes on this machine, learnt from each alarm: after
// long sleeps of the whole process, and after short ones.
type wakeUps struct {
	deep, light wakeUp
	last        atomic.Int64 // when an alarm woke us last, ns of the clock
	slept       atomic.Bool  // whether the sleep before that was long
}

func (u *wakeUps) start() {
	u.deep.start(50_000, longestLead)
	u.light.start(20_000, longestLightLead)
}

// learn takes note of an alarm that was set for a moment and answered at now.
func (u *wakeUps) learn(setFor, now int64) {
	if now < setFor {
		return // something else woke us
	}
	long := setFor-u.last.Swap(now) > deep
	if u.slept.Load() != long {
		u.slept.Store(long)
	}
	if long {
		u.deep.learn(now - setFor)
	} else {
		u.light.learn(now - setFor)
	}
}

// lead is how early to set an alarm; early prefers to be early rather than late.
func (u *wakeUps) lead(early bool) int64 {
	took := &u.light
	if u.slept.Load() {
		took = &u.deep
	}
	if early {
		return took.high.value.Load()
	}
	return took.low.value.Load()
}

// wakeUp is a low and a high quantile of what answering an alarm takes, ns.
// Aiming early by the high one makes most wake-ups early, which is right where
// the rest may be spun away. Where it may not, being early costs a second
// wake-up, and the low one is right.
type wakeUp struct{ low, high estimate }

func (u *wakeUp) start(at, most int64) {
	u.low.quantile, u.low.most = 0.4, most
	u.high.quantile, u.high.most = 0.7, most
	u.low.value.Store(at / 2)
	u.high.value.Store(at)
}

func (u *wakeUp) learn(took int64) {
	u.low.learn(took)
	u.high.learn(took)
}

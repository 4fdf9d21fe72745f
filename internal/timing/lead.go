package timing

import (
	"context"
	"time"
)

// longestWork bounds how early a wait may end for the work after it, ns: what is
// beyond it is a machine with too much to do, not the work.
const longestWork = 60_000

// Lead keeps moments for those who have something to make ready before they can do
// what is due: the wait ends early by what that has lately taken, and Meet spends
// what is left once it is done. On a machine that has slept it takes several times
// what it takes otherwise, as nothing is in the caches. One Lead is for one kind of
// work, and safe for concurrent use.
type Lead struct {
	clock *Clock
	took  estimate
}

// NewLead returns a lead that has learnt nothing yet, on the clock of SleepUntil.
func NewLead() *Lead { return newLead(standard) }

func newLead(c *Clock) *Lead {
	l := &Lead{clock: c}
	l.took.quantile, l.took.most = 0.5, longestWork
	return l
}

// SleepUntil is SleepUntil, but may end earlier by up to 60 µs. Meet must be called
// before what is due at the moment is done.
func (l *Lead) SleepUntil(ctx context.Context, gone <-chan struct{}, at time.Time) error {
	return l.clock.SleepUntil(ctx, gone, at.Add(-l.early()))
}

// early is how much earlier a wait is to end: nothing where what is left of it in
// the end could not be spent.
func (l *Lead) early() time.Duration {
	c := l.clock
	if took := l.took.value.Load(); took > 0 && c.ready.Load() && c.credit.has(c.now(), longestWork) {
		return time.Duration(took)
	}
	return 0
}

// Meet is called when all is ready for what is due at the moment at, with the
// moment at which the wait ended. It returns at most 20 µs before at, and the
// moment it is then. Under testing/synctest it returns at once.
func (l *Lead) Meet(woke, at time.Time) time.Time {
	now := time.Now()
	if bubbled(now) {
		return now
	}
	l.took.learn(int64(now.Sub(woke)))
	left := at.Sub(now)
	if left <= earliest {
		return now
	}
	l.clock.credit.spend(l.clock.now(), int64(left-ahead))
	for left > ahead {
		now = time.Now()
		left = at.Sub(now)
	}
	return now
}

package timing

import (
	"context"
	"sync/atomic"
)

const (
	// longestSpin bounds one stretch of waiting on the processor, ns: about what
	// a sleeping core takes to wake, so sleeping would come out later.
	longestSpin = 80_000
	// deep tells sleeps after which a core wakes slowly from those after which it
	// is still half awake, ns. The two are learnt apart.
	deep = 500_000
	// longestLead bounds how early an alarm may be set, ns, after long and after
	// short sleeps: what is beyond it is a machine with too much to do, not the
	// cost of waking up.
	longestLead, longestLightLead = 400_000, 100_000
	// ahead is how far before its moment a wait is meant to end, ns: in the middle
	// of what is allowed. Whoever waited has something to do at the moment, and
	// getting there takes time too.
	ahead = earliest / 2
)

// seat is an alarm at which one goroutine waits: the poller wakes that one and
// no other, so that no goroutine has to let another go. The alarm is set early
// by what waking up has lately taken.
type seat struct {
	clock *Clock
	alarm *alarm
	ready func(fd uintptr) bool // look, made once, as leaver is: no wait allocates them
	left  atomic.Bool           // the context of who sits here has ended

	leaver  func()
	leaving chan struct{} // receives when leaver is through; room for one

	// The sitting goroutine's own.
	at     int64 // when to wake: ahead of the moment
	setFor int64 // when the alarm goes off; 0 where it was not set in this wait
	early  bool  // the moment is still to come, and the spinning until then paid for
	failed error
}

func newSeat(c *Clock, a *alarm) *seat {
	s := &seat{clock: c, alarm: a, leaving: make(chan struct{}, 1)}
	s.ready, s.leaver = s.look, s.leave
	return s
}

// sit waits until the moment at or 10 µs before it, or until ctx ends where that
// is not nil. It returns the moment it is then, and an error where the alarm
// failed; ctx's end is for the caller to see.
func (s *seat) sit(ctx context.Context, at int64) (now int64, err error) {
	s.at, s.setFor, s.early, s.failed = at, 0, false, nil
	stop := afterFunc(ctx, s.leaver)
	err = s.alarm.wait(s.ready)
	if !stop() {
		<-s.leaving // only then is the seat another's
		s.left.Store(false)
	}
	if err != nil {
		return 0, err
	}
	if s.early {
		return s.clock.spin(at), nil
	}
	return s.clock.now(), s.failed
}

// look reports whether whoever sits here may go. Where not, it sets the alarm.
func (s *seat) look(fd uintptr) bool {
	c := s.clock
	now := c.now()
	if s.setFor > 0 {
		c.wake.learn(s.setFor, now)
	}
	gap := s.at - now
	if gap <= earliest-ahead {
		return true // sleeping again would come out later than this is early
	}
	if s.left.Load() {
		return true
	}
	if gap <= longestSpin && c.credit.take(now, gap) {
		s.early = true
		return true
	}
	s.setFor = s.at - c.wake.lead(c.credit.has(now, longestSpin))
	if s.setFor <= now {
		s.setFor = s.at
	}
	if s.failed = s.alarm.set(fd, s.setFor); s.failed != nil {
		return true
	}
	// After the setting, which may have replaced that of leave.
	return s.left.Load()
}

// leave wakes whoever sits here.
func (s *seat) leave() {
	s.left.Store(true)
	_ = s.alarm.hold(func(fd uintptr) { _ = s.alarm.set(fd, 0) }) // a closed alarm has woken it itself
	s.leaving <- struct{}{}                                       // has room
}

// afterFunc is context.AfterFunc, cheaper where ctx never ends or brings its own.
func afterFunc(ctx context.Context, f func()) (stop func() bool) {
	if ctx == nil {
		return never
	}
	if a, ok := ctx.(interface {
		AfterFunc(func()) func() bool
	}); ok {
		return a.AfterFunc(f)
	}
	if ctx.Done() == nil {
		return never
	}
	return context.AfterFunc(ctx, f)
}

// never stops what never begins.
func never() bool { return true }

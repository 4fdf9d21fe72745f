package timing

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// earliest is how far before its moment a wait may end, ns.
	earliest = 20_000
	// spinShare bounds spinning: to one part in so many of one core.
	spinShare = 64
	// spinBurst is how much may be spun at once after a quiet time, ns.
	spinBurst = 2_000_000
	// farthest keeps sums of moments clear of overflow, ns: 146 years.
	farthest = 1 << 62
)

// Clock waits until moments, more exactly than the runtime's timers do. It is
// safe for concurrent use. SleepUntil uses one that all parts share; others are
// for tests.
//
// It holds two timerfds for each of its shards from the first wait on, and up to 128
// more for those who wait there or did; and one goroutine for each while more
// wait there than have a timerfd of their own, and for 50 ms after; and another
// while there is something to do at a moment, likewise. Where the
// system has no timerfd it waits on the runtime's timers, see ClockStats.Precise.
type Clock struct {
	want   int // shards asked for
	opened sync.Once
	ready  atomic.Bool // base and shards are set
	base   time.Time   // moments are counted from here, in ns
	shards []*shard    // empty: wait on the runtime's timers
	offset int64       // what the kernel's count is ahead of ours, ns
	pool   sync.Pool   // of *waiter
	wake   wakeUps
	credit credit
	plain  lateness // of waits on the runtime's timers
	busy   atomic.Int64
	closed atomic.Bool
}

// NewClock returns a clock of so many shards; 0 means one for every four
// processors. It opens nothing before the first wait. The caller must Close it.
func NewClock(shards int) *Clock {
	if shards <= 0 {
		shards = (runtime.GOMAXPROCS(0) + 3) / 4
	}
	c := &Clock{want: shards}
	c.pool.New = newWaiter
	c.wake.start()
	c.credit.share = spinShare
	return c
}

// Close gives back descriptors and ends goroutines, and returns when they have
// ended. Waits under way and later ones keep their moments, on the runtime's
// timers.
func (c *Clock) Close() {
	c.closed.Store(true)
	c.opened.Do(c.open) // waits for an opening under way
	for _, s := range c.shards {
		s.close()
	}
}

// ClockStats says how a clock keeps its moments, since its first wait.
type ClockStats struct {
	Precise bool   // false: on the runtime's timers, wholly or partly, good to about 1 ms; or not used yet
	Waiters int    // waiting now
	Ended   uint64 // waits that lasted until their moment; those cut short do not count
	// How long after its moment a wait ended: the middle of a bin of 1 µs, beyond
	// 108 µs of 1/32 of the value. Negative is early. Zero when none has ended.
	LatenessP50, LatenessP99 time.Duration
	// Spun is processor time spent on last stretches too short to sleep. It stays
	// below 1/64 of the time that has passed, and 2 ms; for what Do does below 1/16
	// a shard, likewise.
	Spun time.Duration
}

// Stats returns the clock's figures. Waits under testing/synctest are not counted.
func (c *Clock) Stats() ClockStats {
	if !c.ready.Load() {
		return ClockStats{}
	}
	counts := make([]uint64, len(c.plain.bins))
	st := ClockStats{Precise: len(c.shards) > 0 && !c.closed.Load(), Waiters: int(c.busy.Load())}
	st.Ended = c.plain.addTo(counts)
	for _, s := range c.shards {
		st.Ended += s.late.addTo(counts)
		st.Spun += time.Duration(s.desk.credit.spun.Load())
		s.mu.Lock()
		st.Precise = st.Precise && !s.ended
		s.mu.Unlock()
	}
	st.LatenessP50, st.LatenessP99 = binQuantile(counts, 0.5), binQuantile(counts, 0.99)
	st.Spun += time.Duration(c.credit.spun.Load())
	return st
}

// SleepUntil is the package's SleepUntil on this clock.
func (c *Clock) SleepUntil(ctx context.Context, gone <-chan struct{}, at time.Time) error {
	now := time.Now()
	wait := at.Sub(now)
	if err := ctx.Err(); err != nil {
		return err
	}
	if wait <= 0 {
		return ended(ctx, gone)
	}
	if bubbled(now) {
		return sleepPlainly(ctx, gone, wait)
	}
	c.opened.Do(c.open)
	c.busy.Add(1)
	defer c.busy.Add(-1)
	until := int64(now.Sub(c.base)) + min(int64(wait), farthest)
	if len(c.shards) > 0 && !c.closed.Load() {
		done, err := c.wait(ctx, gone, until)
		if done || err != nil {
			return err
		}
		wait = time.Duration(until - c.now())
	}
	err := sleepPlainly(ctx, gone, wait)
	if err == nil {
		c.plain.add(c.now() - until)
	}
	return err
}

// wait waits in a shard. It returns false when the shard gave up, or had no seat,
// before the moment came.
func (c *Clock) wait(ctx context.Context, gone <-chan struct{}, until int64) (done bool, err error) {
	now := c.now()
	aim := until - ahead
	gap := aim - now
	s := c.shards[rand.IntN(len(c.shards))]
	if gap <= longestSpin && c.credit.take(now, max(gap, 0)) {
		s.late.add(c.spin(aim) - until)
		return true, nil
	}
	// The seat for a whole wait is for the few: who may be called away by a
	// channel waits where a channel can be heard.
	var at *seat
	heard := ctx
	if gap > soon && gone == nil {
		at = s.seat(true)
	}
	whole := at != nil
	if !whole {
		if gap > soon {
			if err := c.queue(ctx, gone, s, until); err != nil {
				return false, err
			}
		}
		heard = nil // listening for so short a rest costs more than it saves
		if at = s.seat(false); at == nil {
			return false, nil
		}
	}
	now, err = at.sit(heard, aim)
	s.rise(at, whole)
	if err != nil {
		s.fail()
		return false, nil
	}
	if err := ended(ctx, gone); err != nil {
		return false, err
	}
	s.late.add(now - until)
	return true, nil
}

// ended returns why a wait should not go on: nil where nothing speaks against it.
func ended(ctx context.Context, gone <-chan struct{}) error {
	select {
	case <-gone:
		return ErrGone
	default:
		return ctx.Err()
	}
}

// queue waits in a shard's heap until the moment is near. It returns the reason
// when the wait is given up; nil too when the shard has ended.
func (c *Clock) queue(ctx context.Context, gone <-chan struct{}, s *shard, until int64) (err error) {
	w := c.pool.Get().(*waiter)
	defer c.pool.Put(w)
	w.at = until
	if !s.add(w) {
		return nil
	}
	if ended := ctx.Done(); ended == nil && gone == nil {
		<-w.turn
	} else {
		select {
		case <-w.turn:
		case <-gone:
			err = ErrGone
		case <-ended:
			err = ctx.Err()
		}
		if err != nil && !s.remove(w) {
			<-w.turn // it was on its way: only then may the waiter be used again
		}
	}
	return err
}

// now returns the clock's count, ns since its base.
func (c *Clock) now() int64 { return int64(time.Since(c.base)) }

// spin returns at the moment until, which must be near, or at once when it is
// past. It returns the moment it is then.
func (c *Clock) spin(until int64) (now int64) {
	for now = c.now(); now < until; {
		now = c.now()
	}
	return now
}

// open is called outside of bubbles, once.
func (c *Clock) open() {
	c.base = time.Now()
	defer c.ready.Store(true)
	if c.closed.Load() {
		return
	}
	var err error
	if c.offset, err = kernelOffset(c.now); err != nil {
		return
	}
	for range c.want {
		a, err := newAlarm(c.offset)
		var desks *alarm
		if err == nil {
			if desks, err = newAlarm(c.offset); err != nil {
				a.close()
			}
		}
		if err != nil {
			// No timerfd here, or no descriptor left. All or none: a clock of two
			// qualities could not say which it has.
			for _, s := range c.shards {
				s.close()
			}
			c.shards = nil
			return
		}
		c.shards = append(c.shards, newShard(c, a, desks))
	}
}

// bubbled tells whether now was read under testing/synctest, where moments
// come from a fake clock that only the runtime's timers follow. In a bubble
// time.Now has no monotonic reading; outside it always has one between the
// years 1885 and 2157. A machine whose date is beyond them gets the runtime's
// timers too, which is correct, if less exact.
func bubbled(now time.Time) bool {
	return now == now.Round(0) //nolint:staticcheck // Equal would not look at the monotonic reading
}

// sleepPlainly waits on a timer of the runtime. It starts one a wait: a pool of
// timers would carry them from one bubble into another, which the runtime
// forbids.
func sleepPlainly(ctx context.Context, gone <-chan struct{}, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-gone:
		return ErrGone
	case <-ctx.Done():
		return ctx.Err()
	}
}

// credit rations spinning: it allows one part in share of the time that passes, and
// saves up at most spinBurst. The method is the generic cell rate algorithm. Source:
// ITU-T I.371.
type credit struct {
	share int64        // one part in so many of the time that passes
	paid  atomic.Int64 // what was taken is earned back by then, ns of the clock
	spun  atomic.Int64 // ns
}

// has tells whether ns could be taken at the moment now.
func (c *credit) has(now, ns int64) bool {
	return max(c.paid.Load(), now-spinBurst*c.share)+ns*c.share <= now
}

// spend takes ns of spinning at the moment now, on credit where need be.
func (c *credit) spend(now, ns int64) {
	for {
		paid := c.paid.Load()
		if c.paid.CompareAndSwap(paid, max(paid, now-spinBurst*c.share)+ns*c.share) {
			c.spun.Add(ns)
			return
		}
	}
}

// take takes ns of spinning at the moment now, or nothing.
func (c *credit) take(now, ns int64) bool {
	for {
		paid := c.paid.Load()
		t := max(paid, now-spinBurst*c.share) + ns*c.share
		if t > now {
			return false
		}
		if c.paid.CompareAndSwap(paid, t) {
			c.spun.Add(ns)
			return true
		}
	}
}

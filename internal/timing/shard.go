package timing

import (
	"math"
	"sync"
)

const (
	// linger is how long a shard's goroutine stays after its last waiter, ns: a
	// request after another does not start one each.
	linger = 50_000_000
	// deep tells sleeps after which a core wakes slowly from those after which it
	// is still half awake, ns. The two are learnt apart.
	deep = 500_000
	// longestLead bounds how early the alarm may be set, ns: what is beyond it
	// is a machine with too much to do, not the cost of waking up.
	longestLead = 500_000
	// never is a moment that does not come.
	never = math.MaxInt64
)

// waiter is one goroutine's place in a shard. They are pooled, each with its
// shard: the pool hands a processor its own, which spreads them well.
type waiter struct {
	shard *shard
	at    int64         // the moment, ns of the clock
	index int           // in the shard's heap, or outside
	turn  chan struct{} // receives once when the waiter is let go; room for one

	// Written before turn is sent to.
	lead     bool  // the first let go in its turn: its way tells what a hop takes
	early    bool  // the moment is still to come, and the spinning until then paid for
	released int64 // when it was, ns of the clock
	refused  bool  // the shard has ended; the moment may still be to come
}

func (c *Clock) newWaiter() any {
	s := c.shards[c.next.Add(1)%uint32(len(c.shards))]
	return &waiter{shard: s, index: outside, turn: make(chan struct{}, 1)}
}

// shard is a heap of waiters, the alarm that goes off for the earliest, and
// the goroutine that lets them go. The alarm is set early by what waking up has
// lately taken.
type shard struct {
	clock *Clock
	alarm *alarm
	late  lateness

	deep, light wakeUp   // after long and short sleeps
	hop         estimate // from a waiter's being let go until it runs

	mu      sync.Mutex
	heap    deadlines
	due     []*waiter // the goroutine's own, reused
	setFor  int64     // when the alarm goes off
	setAt   int64     // when it was set
	awake   bool      // the goroutine is at work and will set the alarm itself
	running bool      // there is a goroutine
	ended   bool
	stopped sync.WaitGroup
}

func newShard(c *Clock, a *alarm) *shard {
	s := &shard{clock: c, alarm: a}
	s.deep.start(50_000)
	s.light.start(20_000)
	s.hop.quantile, s.hop.most = 0.5, longestSpin/2
	return s
}

// add puts a waiter in, and sets the alarm if it is the earliest now.
func (s *shard) add(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		w.refused = true
		w.turn <- struct{}{}
		return
	}
	s.heap.push(w)
	if w.index > 0 {
		return
	}
	if !s.running {
		s.running, s.awake, s.setFor = true, false, never
		s.stopped.Go(s.run) // ends by itself, or by close
	}
	if now := s.clock.now(); !s.awake && s.aim(now) < s.setFor {
		s.set(now, s.aim(now))
	}
}

// remove takes a waiter out that does not want to wait any longer; false says
// that it was let go already.
func (s *shard) remove(w *waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.index == outside {
		return false
	}
	// The alarm stays: a set one costs less than setting it again. But when nobody
	// is left, the goroutine must not wait for a moment that is nobody's any more.
	s.heap.remove(w)
	if now := s.clock.now(); len(s.heap) == 0 && !s.awake && s.setFor > now+linger {
		s.set(now, now+linger)
	}
	return true
}

// aim returns when the alarm should go off at now for the earliest waiter.
func (s *shard) aim(now int64) int64 {
	at := s.heap[0].at
	took := &s.light
	if at-now > deep {
		took = &s.deep
	}
	lead := &took.low
	if s.clock.credit.has(now, longestSpin) {
		lead = &took.high
	}
	if t := at - lead.value.Load() - s.hop.value.Load(); t > now {
		return t
	}
	return at
}

// set sets the alarm. An alarm that cannot be set ends the shard.
func (s *shard) set(now, at int64) {
	s.setFor, s.setAt = at, now
	if s.alarm.set(at) != nil {
		s.end()
	}
}

// run answers the alarm until nobody has waited for a while.
func (s *shard) run() {
	for {
		if s.alarm.wait() != nil {
			s.mu.Lock()
			s.end()
			s.running = false
			s.mu.Unlock()
			return
		}
		if !s.turn() {
			return
		}
	}
}

// turn lets go whoever is due, and sets the alarm for the next. It returns
// false when the goroutine is to end.
func (s *shard) turn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awake = true
	defer func() { s.awake = false }()
	now := s.clock.now()
	s.learn(now)
	idle := len(s.heap) == 0 && now >= s.setFor
	for s.release(now) {
		now = s.clock.now()
	}
	switch {
	case s.ended || idle && len(s.heap) == 0:
		s.running = false
		return false
	case len(s.heap) == 0:
		s.set(now, now+linger)
	default:
		s.set(now, s.aim(now))
	}
	return true
}

// wakeUp is what answering an alarm takes: a low and a high quantile of it, ns.
// Aiming early by the high one makes most wake-ups early, which is right where
// the rest may be spun away. Where it may not, being early costs a second
// wake-up, and the low one is right.
type wakeUp struct{ low, high estimate }

func (u *wakeUp) start(at int64) {
	u.low.quantile, u.low.most = 0.3, longestLead
	u.high.quantile, u.high.most = 0.7, longestLead
	u.low.value.Store(at / 2)
	u.high.value.Store(at)
}

func (u *wakeUp) learn(took int64) {
	u.low.learn(took)
	u.high.learn(took)
}

// learn takes note of how late the alarm was answered.
func (s *shard) learn(now int64) {
	if now < s.setFor || s.setFor <= s.setAt || len(s.heap) == 0 {
		return
	}
	if s.setFor-s.setAt > deep {
		s.deep.learn(now - s.setFor)
	} else {
		s.light.learn(now - s.setFor)
	}
}

// release lets go all whose moment has come, or is so near that it will have
// by the time they run: those may be early by what the contract allows. When
// there is none it lets the next go if the rest of its time may be spun. It
// returns false when it let nobody go.
func (s *shard) release(now int64) bool {
	until := now + min(s.hop.value.Load(), earliest)
	s.due = s.due[:0]
	for len(s.heap) > 0 && s.heap[0].at <= until {
		s.due = append(s.due, s.heap.pop())
	}
	early := false
	if len(s.due) == 0 && len(s.heap) > 0 {
		gap := s.heap[0].at - now
		early = gap <= longestSpin && s.clock.credit.take(now, gap)
		// Sleeping again would come out later than this is early.
		if early || gap <= earliest {
			s.due = append(s.due, s.heap.pop())
		}
	}
	if len(s.due) == 0 {
		return false
	}
	s.mu.Unlock() // those let go may want to wait again
	for i, w := range s.due {
		w.lead, w.early, w.released = i == 0, early, now
		w.turn <- struct{}{} // has room
	}
	s.mu.Lock()
	return true
}

// end gives everybody back and ends the goroutine. It is called with the lock
// held; nobody sets the alarm after it.
func (s *shard) end() {
	s.ended = true
	s.alarm.close()
	for len(s.heap) > 0 {
		w := s.heap.pop()
		w.refused = true
		w.turn <- struct{}{}
	}
}

// close ends the shard and waits for its goroutine.
func (s *shard) close() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.stopped.Wait()
}

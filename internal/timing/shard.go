package timing

import (
	"math"
	"sync"
)

const (
	// soon is how much may be left of a wait whose waiter is let go from the heap
	// to a seat, ns; soonest is how much is left at the least, were waking up for
	// free. Between the two lies what goes together: however many wait, the
	// shard's own goroutine wakes no more often than once in soon − soonest.
	soon    = 2_000_000
	soonest = 1_000_000
	// seatsEach is how many seats a shard has at most, each a descriptor;
	// longSeats of them may be had for a whole wait, however long.
	seatsEach = 128
	longSeats = 64
	// linger is how long a shard's goroutine stays after its last waiter, ns: a
	// request after another does not start one each.
	linger = 50_000_000
	// endless is a moment that does not come.
	endless = math.MaxInt64
)

// waiter is one goroutine's place in a shard's heap. They are pooled.
type waiter struct {
	at    int64         // the moment, ns of the clock
	index int           // in the shard's heap, or outside
	turn  chan struct{} // receives once when the waiter is let go; room for one

	errand errand // of who waits at a desk
}

func newWaiter() any {
	w := &waiter{index: outside, turn: make(chan struct{}, 1)}
	w.errand.leaver, w.errand.leaving = w.leave, make(chan struct{}, 1)
	return w
}

// shard is a part of a clock: seats for those whose moment is near, and a heap
// for those who wait for one, with an alarm and the goroutine that lets them go.
type shard struct {
	clock *Clock
	alarm *alarm
	ready func(fd uintptr) bool // look, made once
	late  lateness
	desk  *desk // for what is done for others at its moment

	mu      sync.Mutex
	free    []*seat // the last used at the end: its memory is warm
	seats   []*seat // all
	long    int     // seats had for a whole wait
	full    bool    // no more seats can be made
	heap    deadlines
	setFor  int64 // when the alarm goes off
	running bool  // there is a goroutine
	idle    bool  // it ends when the alarm goes off
	ended   bool
	stopped sync.WaitGroup
}

func newShard(c *Clock, a, desks *alarm) *shard {
	s := &shard{clock: c, alarm: a}
	s.ready = s.look
	s.desk = newDesk(c, desks, &s.late)
	return s
}

// seat returns a free seat, or nil. long says that it is for a whole wait.
func (s *shard) seat(long bool) *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || long && s.long >= longSeats {
		return nil
	}
	var found *seat
	if n := len(s.free); n > 0 {
		found, s.free = s.free[n-1], s.free[:n-1]
	} else if len(s.seats) < seatsEach && !s.full {
		a, err := newAlarm(s.clock.offset)
		if err != nil {
			s.full = true // no descriptor is left, and those there are, others need more
			return nil
		}
		found = newSeat(s.clock, a)
		s.seats = append(s.seats, found)
	}
	if long && found != nil {
		s.long++
	}
	return found
}

// rise gives a seat back.
func (s *shard) rise(from *seat, long bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, from)
	if long {
		s.long--
	}
}

// add puts a waiter in, and sets the alarm if it is the earliest now. It returns
// false when the shard has ended.
func (s *shard) add(w *waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.heap.push(w)
	switch {
	case !s.running:
		s.running, s.setFor = true, endless
		s.stopped.Go(s.run) // ends by itself, or by close
	case w.at-soonest < s.setFor:
		s.set(w.at - soonest)
	}
	return true
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
	if at := s.clock.now() + linger; len(s.heap) == 0 && s.setFor > at {
		s.set(at)
	}
	return true
}

// set sets the alarm from outside of its goroutine. An alarm that cannot be set
// ends the shard.
func (s *shard) set(at int64) {
	s.setFor = at
	err := error(nil)
	if s.alarm.hold(func(fd uintptr) { err = s.alarm.set(fd, at) }) != nil || err != nil {
		s.end()
	}
}

// run answers the alarm until nobody has waited for a while.
func (s *shard) run() {
	if s.alarm.wait(s.ready) == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
}

// look lets go whoever is due, and sets the alarm for the next. It returns true
// when the goroutine is to end.
func (s *shard) look(fd uintptr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = s.answer(fd)
	return !s.running
}

// answer is look with the lock held; false is the goroutine's end.
func (s *shard) answer(fd uintptr) bool {
	now := s.clock.now()
	if now >= s.setFor {
		s.clock.wake.learn(s.setFor, now)
	}
	if s.release(now) {
		s.idle = false
	}
	switch {
	case s.ended:
		return false
	case len(s.heap) > 0:
		s.idle, s.setFor = false, s.heap[0].at-soonest
	case s.idle && now >= s.setFor:
		s.idle = false
		return false
	case !s.idle:
		s.idle, s.setFor = true, now+linger
	default:
		return true // woken in vain: the alarm is set
	}
	if s.alarm.set(fd, s.setFor) != nil {
		s.end()
		return false
	}
	return true
}

// release lets go all whose moment is near. It returns false when it let nobody go.
func (s *shard) release(now int64) (any bool) {
	for len(s.heap) > 0 && s.heap[0].at <= now+soon {
		s.heap.pop().turn <- struct{}{} // has room
		any = true
	}
	return any
}

// end lets everybody go and ends the goroutine. It is called with the lock held.
// Those who sit or come later wait on the runtime's timers.
func (s *shard) end() {
	s.ended = true
	s.stopped.Go(s.alarm.close) // waits for the goroutine, which may want the lock, or be the caller
	for _, seat := range s.seats {
		seat.alarm.close()
	}
	for len(s.heap) > 0 {
		s.heap.pop().turn <- struct{}{}
	}
}

// fail ends the shard, one of whose alarms failed.
func (s *shard) fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
}

// close ends the shard and waits for its goroutine.
func (s *shard) close() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.stopped.Wait()
	s.desk.close()
}

package timing

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
)

// shard is a part of a clock: seats for those whose moment is near, and a roster
// of those who wait for one.
type shard struct {
	roster
	late lateness
	desk *desk // for what is done for others at its moment

	// Guarded by the roster's mu.
	free  []*seat // the last used at the end: its memory is warm
	seats []*seat // all
	long  int     // seats had for a whole wait
	full  bool    // no more seats can be made
}

func newShard(c *Clock, a, desks *alarm) *shard {
	s := &shard{}
	s.init(c, a, s)
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

func (s *shard) aim(_, at int64) int64 { return at - soonest }

// work lets all go whose moment is near.
func (s *shard) work(now int64) int64 {
	if now >= s.setFor {
		s.clock.wake.learn(s.setFor, now)
	}
	for len(s.heap) > 0 && s.heap[0].at <= now+soon {
		s.heap.pop().turn <- struct{}{} // has room
	}
	return now
}

// over has those who sit, and those who come later, wait on the runtime's timers.
func (s *shard) over() {
	for _, seat := range s.seats {
		seat.alarm.close()
	}
}

// fail ends the shard, one of whose alarms failed.
func (s *shard) fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
}

// close ends the shard and waits for its goroutines.
func (s *shard) close() {
	s.roster.close()
	s.desk.close()
}

package timing

import "sync"

const (
	// deskShare bounds a desk's spinning: to one part in so many of one core.
	deskShare = 16
	// deskSpin bounds one stretch of it, ns.
	deskSpin = 100_000
	// deskLead bounds how early a desk's alarm may be set, ns: see longestLead.
	deskLead = 250_000
	// telling is about what it takes to tell one, ns.
	telling = 20_000
	// batch is how many things are done before those who wait for them are told.
	batch = 32
)

// errand is what a waiter of a desk wants done at its moment.
type errand struct {
	desk  *desk
	do    func()
	began int64 // when it was begun, ns of the clock; 0 where it was not
	over  int64 // when it was over

	leaver  func()        // the waiter's leave, made once
	leaving chan struct{} // receives when leaver is through; room for one
}

// leave takes w back from its desk where what it wants was not begun.
func (w *waiter) leave() {
	if w.errand.desk.remove(w) {
		w.turn <- struct{}{} // has room
	}
	w.errand.leaving <- struct{}{} // has room
}

// desk does short things at their moments, one after the other in a goroutine of its
// own: nobody has to be woken for each, which takes longer than the thing itself. It
// sets its alarm early by what being woken has lately taken and spins for the rest, and
// tells those who wait when nothing more is due at once.
type desk struct {
	clock  *Clock
	alarm  *alarm
	ready  func(fd uintptr) bool // look, made once, as put is: nothing allocates them
	put    func(fd uintptr)      // sets the alarm for setFor
	late   *lateness
	wake   wakeUp // the goroutine's own
	credit credit

	mu      sync.Mutex
	heap    deadlines
	setFor  int64 // when the alarm goes off; endless where it is not set
	running bool  // there is a goroutine
	working bool  // it looks at the heap before it waits again
	idle    bool  // it ends when the alarm goes off
	ended   bool
	failed  error // of put
	stopped sync.WaitGroup

	done  [batch]*waiter // the goroutine's own: begun and over, but not told yet
	count int
}

func newDesk(c *Clock, a *alarm, late *lateness) *desk {
	d := &desk{clock: c, alarm: a, late: late}
	d.credit.share = deskShare
	d.ready = d.look
	d.put = func(fd uintptr) { d.failed = d.alarm.set(fd, d.setFor) }
	d.wake.start(50_000, deskLead)
	d.wake.high.quantile = 0.85 // others' moments wait for a second alarm, too
	return d
}

// add takes w in; false where the desk has ended.
func (d *desk) add(w *waiter) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return false
	}
	w.errand.desk, w.errand.began = d, 0
	d.heap.push(w)
	switch aim := d.aim(w.at); {
	case !d.running:
		d.running, d.working, d.setFor = true, true, endless
		d.stopped.Go(d.run) // ends by itself, or by close
	case !d.working && aim < d.setFor:
		d.idle = false
		d.set(aim)
	}
	return true
}

// aim is when to wake for the moment at.
func (d *desk) aim(at int64) int64 { return at - ahead - d.wake.high.value.Load() }

// remove takes w out; false says that it was begun, or let go.
func (d *desk) remove(w *waiter) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w.index == outside {
		return false
	}
	// As in a shard: the alarm stays, unless nobody is left.
	d.heap.remove(w)
	if at := d.clock.now() + linger; len(d.heap) == 0 && !d.working && d.setFor > at {
		d.set(at)
	}
	return true
}

// set sets the alarm from outside of the goroutine. One that cannot be set ends the desk.
func (d *desk) set(at int64) {
	d.setFor = at
	if d.alarm.hold(d.put) != nil || d.failed != nil {
		d.end()
	}
}

// run answers the alarm until there was nothing to do for a while.
func (d *desk) run() {
	if d.alarm.wait(d.ready) == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end()
}

// look does what is due, and sets the alarm for what comes next. It returns true when
// the goroutine is to end.
func (d *desk) look(fd uintptr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock.now()
	if !d.idle && now >= d.setFor {
		d.wake.learn(now - d.setFor)
	}
	d.working = true
	for d.next(now) {
		now = d.clock.now()
	}
	d.working = false
	d.running = d.rest(fd, now)
	return !d.running
}

// next does what is due next, or soon enough to spin for it, or tells of what was done;
// false where nothing of this is to be done now. The lock is held but for the doing.
func (d *desk) next(now int64) bool {
	var w *waiter
	spin := int64(0)
	if !d.ended && len(d.heap) > 0 {
		if gap := d.heap[0].at - ahead - now; gap <= 0 {
			w = d.heap.pop()
		} else if gap <= deskSpin && (d.count == 0 || gap <= telling) && d.credit.take(now, gap) {
			spin = now + gap
		}
	}
	if w == nil && spin == 0 && d.count == 0 {
		return false
	}
	d.mu.Unlock()
	defer d.mu.Lock()
	switch {
	case w != nil:
		d.carryOut(w)
	case spin > 0:
		d.clock.spin(spin)
	default:
		d.tell()
	}
	return true
}

func (d *desk) carryOut(w *waiter) {
	e := &w.errand
	e.began = d.clock.now()
	e.do()
	e.over = d.clock.now()
	d.late.add(e.began - w.at)
	d.done[d.count] = w
	if d.count++; d.count == batch {
		d.tell()
	}
}

// tell lets those go whose errands are over.
func (d *desk) tell() {
	for i, w := range d.done[:d.count] {
		d.done[i] = nil
		w.turn <- struct{}{} // has room
	}
	d.count = 0
}

// rest sets the alarm, if there is something to wait for; else false.
func (d *desk) rest(fd uintptr, now int64) bool {
	switch {
	case d.ended:
		return false
	case len(d.heap) > 0:
		at := d.heap[0].at - ahead
		if d.idle, d.setFor = false, at-d.wake.low.value.Load(); d.credit.has(now, deskSpin) {
			d.setFor = d.aim(d.heap[0].at)
		}
		if d.setFor <= now {
			d.setFor = at
		}
	case d.idle && now >= d.setFor:
		d.idle = false
		return false
	case !d.idle:
		d.idle, d.setFor = true, now+linger
	default:
		return true // woken in vain: the alarm is set
	}
	if d.alarm.set(fd, d.setFor) != nil {
		d.end()
		return false
	}
	return true
}

// end lets everybody go and ends the goroutine. It is called with the lock held. To close
// waits for the goroutine, which may want the lock, or be the caller.
func (d *desk) end() {
	d.ended = true
	d.stopped.Go(d.alarm.close) // ends with the goroutine's look
	for len(d.heap) > 0 {
		d.heap.pop().turn <- struct{}{}
	}
}

// close ends the desk and waits for its goroutine.
func (d *desk) close() {
	d.mu.Lock()
	d.end()
	d.mu.Unlock()
	d.stopped.Wait()
}

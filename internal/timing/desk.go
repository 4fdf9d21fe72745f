package timing

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
	roster
	late   *lateness
	wake   wakeUp // the goroutine's own
	credit credit

	done  [batch]*waiter // the goroutine's own: begun and over, but not told yet
	count int
}

func newDesk(c *Clock, a *alarm, late *lateness) *desk {
	d := &desk{late: late}
	d.init(c, a, d)
	d.credit.share = deskShare
	d.wake.start(50_000, deskLead)
	d.wake.high.quantile = 0.85 // others' moments wait for a second alarm, too
	return d
}

// aim is early where what is left then may be spun away.
func (d *desk) aim(now, at int64) int64 {
	at -= ahead
	took := &d.wake.low
	if d.credit.has(now, deskSpin) {
		took = &d.wake.high
	}
	if early := at - took.value.Load(); early > now {
		return early
	}
	return at
}

// work does what is due.
func (d *desk) work(now int64) int64 {
	if !d.idle && now >= d.setFor {
		d.wake.learn(now - d.setFor)
	}
	for d.next(now) {
		now = d.clock.now()
	}
	return now
}

// over has nothing to add: who waits is let go.
func (d *desk) over() {}

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

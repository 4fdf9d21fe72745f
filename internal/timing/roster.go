package timing

import (
	"math"
	"sync"
)

const (
	// linger is how long a roster's goroutine stays after its last waiter, ns: a
	// request after another does not start one each.
	linger = 50_000_000
	// endless is a moment that does not come.
	endless = math.MaxInt64
)

// waiter is one goroutine's place in a roster. They are pooled.
type waiter struct {
	at    int64         // the moment, ns of the clock
	index int           // in the roster's heap, or outside
	turn  chan struct{} // receives once when the waiter is let go; room for one

	errand errand // of who waits at a desk
}

func newWaiter() any {
	w := &waiter{index: outside, turn: make(chan struct{}, 1)}
	w.errand.leaver, w.errand.leaving = w.leave, make(chan struct{}, 1)
	return w
}

// roster is a heap of waiters by their moments, with an alarm and the goroutine that
// answers it, for a keeper who does what is then to be done.
type roster struct {
	clock  *Clock
	alarm  *alarm
	keeper keeper
	ready  func(fd uintptr) bool // look, made once, as put is: nothing allocates them
	put    func(fd uintptr)      // sets the alarm for setFor

	mu      sync.Mutex
	heap    deadlines
	setFor  int64 // when the alarm goes off; endless where it is not set
	running bool  // there is a goroutine
	working bool  // it looks at the heap before it waits again
	idle    bool  // it ends when the alarm goes off, unless somebody comes
	ended   bool
	failed  error // of put
	stopped sync.WaitGroup
}

// keeper is whose roster it is. It is called with the lock held.
type keeper interface {
	// aim is when to wake for the moment at.
	aim(now, at int64) int64
	// work takes out who is due, and may let the lock go meanwhile. It returns the moment
	// it is then.
	work(now int64) int64
	// over is called when the roster has ended.
	over()
}

func (r *roster) init(c *Clock, a *alarm, k keeper) {
	r.clock, r.alarm, r.keeper = c, a, k
	r.ready = r.look
	r.put = func(fd uintptr) { r.failed = r.alarm.set(fd, r.setFor) }
}

// add takes w in, and sets the alarm if it is the earliest now. It returns false where the
// roster has ended.
func (r *roster) add(w *waiter) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return false
	}
	r.heap.push(w)
	r.idle = false
	switch {
	case !r.running:
		r.running, r.working, r.setFor = true, true, endless
		r.stopped.Go(r.run) // ends by itself, or by close
	case r.working || w.index > 0:
	default:
		if aim := r.keeper.aim(r.clock.now(), w.at); aim < r.setFor {
			r.set(aim)
		}
	}
	return true
}

// remove takes w out, which does not want to wait any longer; false says that it was let go.
func (r *roster) remove(w *waiter) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.index == outside {
		return false
	}
	// The alarm stays: a set one costs less than setting it again. But when nobody
	// is left, the goroutine must not wait for a moment that is nobody's any more.
	r.heap.remove(w)
	if at := r.clock.now() + linger; len(r.heap) == 0 && !r.working && r.setFor > at {
		r.set(at)
	}
	return true
}

// set sets the alarm from outside of the goroutine. One that cannot be set ends the roster.
func (r *roster) set(at int64) {
	r.setFor = at
	if r.alarm.hold(r.put) != nil || r.failed != nil {
		r.end()
	}
}

// run answers the alarm until nobody has waited for a while.
func (r *roster) run() {
	if r.alarm.wait(r.ready) == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end()
}

// look has the keeper work, and sets the alarm for who comes next. It returns true when
// the goroutine is to end.
func (r *roster) look(fd uintptr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.working = true
	now := r.keeper.work(r.clock.now())
	r.working = false
	r.running = r.rest(fd, now)
	return !r.running
}

// rest sets the alarm, if there is something to wait for; else false.
func (r *roster) rest(fd uintptr, now int64) bool {
	switch {
	case r.ended:
		return false
	case len(r.heap) > 0:
		r.setFor = r.keeper.aim(now, r.heap[0].at)
	case r.idle && now >= r.setFor:
		return false
	case !r.idle:
		r.idle, r.setFor = true, now+linger
	default:
		return true // woken in vain: the alarm is set
	}
	if r.alarm.set(fd, r.setFor) != nil {
		r.end()
		return false
	}
	return true
}

// end lets everybody go and ends the goroutine. It is called with the lock held. To close
// the alarm waits for the goroutine, which may want the lock, or be the caller.
func (r *roster) end() {
	if r.ended {
		return // and perhaps waited for: see close
	}
	r.ended = true
	r.stopped.Go(r.alarm.close) // ends with the goroutine's look
	r.keeper.over()
	for len(r.heap) > 0 {
		r.heap.pop().turn <- struct{}{} // has room
	}
}

// close ends the roster and waits for its goroutine.
func (r *roster) close() {
	r.mu.Lock()
	r.end()
	r.mu.Unlock()
	r.stopped.Wait()
}

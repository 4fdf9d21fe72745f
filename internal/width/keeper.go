package width

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

const (
	soon   = 50 * time.Millisecond  // between looks after a nudge: /proc/stat counts 10 ms
	often  = 100 * time.Millisecond // while there is work
	seldom = time.Second            // while there is none: to wake an idle program takes 0.3–0.5 ms
)

// machine is what a Keeper sees and sets.
type machine interface {
	// read returns sums since some time before: of the idle time of all
	// processors, and of what this program used.
	read() (reading, error)
	// full is what the runtime has while nothing narrows it.
	full() int
	narrow(width int)
	// widen gives the width back to the runtime, which asks again what it is, and
	// returns it.
	widen() int
	close()
}

type reading struct {
	at         time.Time
	idle, used time.Duration
	switches   uint64
}

// Change is a new width, or a new way with one processor.
type Change struct {
	Width  int  // processors that Go's scheduler uses from now on
	Narrow bool // fewer than the runtime would take
	Batch  bool // as Work's Batch was told
	// What the change was made for: the machine's idle and this program's used
	// processors, over the last 0.15 to 0.3 seconds.
	Idle, Used float64
	// Switches are those of the whole machine from one thread to another for each
	// exchange, without batches, as last seen; 0 where nothing was to be seen.
	Switches float64
}

// Keeper narrows and widens Go's scheduler.
type Keeper struct {
	machine machine
	work    Work
	tell    func(Change)

	asleep atomic.Bool   // a nudge would be heeded
	nudges chan struct{} // one at most
}

func newKeeper(m machine, w Work, tell func(Change)) *Keeper {
	return &Keeper{machine: m, work: w, tell: tell, nudges: make(chan struct{}, 1)}
}

// New returns a keeper of w that tells of changes from the goroutine of its Run. It
// fails where the environment sets GOMAXPROCS, and where the machine cannot be seen.
func New(w Work, tell func(Change)) (*Keeper, error) {
	if set := os.Getenv("GOMAXPROCS"); set != "" {
		return nil, fmt.Errorf("GOMAXPROCS=%s is in the environment", set)
	}
	m, err := newHost()
	if err != nil {
		return nil, err
	}
	return newKeeper(m, w, tell), nil
}

// Wake tells that work may begin, so that a keeper at rest looks now and not within
// a second. It costs a load of an atomic but for the first call after a rest, never
// blocks, and does nothing where Run is not running or there is nothing to choose. Of
// calls that come to nothing one a second is heeded, after a pause up to four in a row. A
// nil keeper's does nothing.
func (k *Keeper) Wake() {
	if k == nil || !k.asleep.Load() || !k.asleep.CompareAndSwap(true, false) {
		return
	}
	select {
	case k.nudges <- struct{}{}:
	default:
	}
}

// Run watches until ctx ends, and then returns nil; it returns an error when the
// machine cannot be seen any more. It leaves the runtime's own width. Run may be
// called once.
func (k *Keeper) Run(ctx context.Context) error {
	defer k.machine.close()
	defer k.asleep.Store(false)
	var p policy
	var b batching
	defer func() {
		if b.on {
			k.work.Batch(false)
		}
		if p.width != 0 {
			k.machine.widen()
		}
	}()
	last, err := k.machine.read()
	if err != nil {
		return err
	}
	done := k.done()
	full := k.machine.full()
	// decides is whether there is anything to: with one processor batches alone.
	decides := func() bool { return full > 1 || k.work.Batch != nil }
	timer := time.NewTimer(seldom)
	defer timer.Stop()
	for {
		nudged := false
		k.asleep.Store(decides() && p.heeds())
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			k.asleep.Store(false)
		case <-k.nudges:
			if !p.resting() {
				continue // it came while the timer's look found work
			}
			nudged = true
		}
		now, err := k.machine.read()
		if err != nil {
			return err
		}
		before, batched := p.width, b.on
		if before == 0 {
			full = k.machine.full() // the runtime follows the cgroup's limit
		}
		had := cmp.Or(before, full)
		took := sample{
			took: now.at.Sub(last.at), idle: now.idle - last.idle, used: now.used - last.used,
			switches: now.switches - last.switches, done: k.done() - done,
		}
		last, done = now, done+took.done
		after := p.next(full, took)
		switch {
		case after == before:
		case after != 0:
			k.machine.narrow(after)
		default:
			full = k.machine.widen()
		}
		switch {
		case cmp.Or(after, full) != 1:
			if b.rest(); !p.remembers() {
				b = batching{}
			}
		case had == 1 && k.work.Batch != nil: // all of it with one processor
			b.next(took)
		}
		if b.on != batched {
			k.work.Batch(b.on)
		}
		if after != before || b.on != batched {
			c := Change{Width: after, Narrow: after != 0, Batch: b.on, Switches: b.alone}
			c.Idle, c.Used = p.judged()
			if !c.Narrow {
				c.Width = full
			}
			k.tell(c)
		}
		switch {
		case !decides():
			timer.Reset(seldom)
			continue
		case nudged:
			p.wake()
		}
		timer.Reset(p.pause())
	}
}

func (k *Keeper) done() uint64 {
	if k.work.Done == nil {
		return 0
	}
	return k.work.Done()
}

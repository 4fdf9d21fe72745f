package width

import (
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
}

// Change is a new width.
type Change struct {
	Width  int  // processors that Go's scheduler uses from now on
	Narrow bool // fewer than the runtime would take
	// What the change was made for: the machine's idle and this program's used
	// processors, over the last 0.15 to 0.3 seconds.
	Idle, Used float64
}

// Keeper narrows and widens Go's scheduler.
type Keeper struct {
	machine machine
	tell    func(Change)

	asleep atomic.Bool   // a nudge would be heeded
	nudges chan struct{} // one at most
}

func newKeeper(m machine, tell func(Change)) *Keeper {
	return &Keeper{machine: m, tell: tell, nudges: make(chan struct{}, 1)}
}

// New returns a keeper that tells of changes from the goroutine of its Run. It
// fails where the environment sets GOMAXPROCS, and where the machine cannot be seen.
func New(tell func(Change)) (*Keeper, error) {
	if set := os.Getenv("GOMAXPROCS"); set != "" {
		return nil, fmt.Errorf("GOMAXPROCS=%s is in the environment", set)
	}
	m, err := newHost()
	if err != nil {
		return nil, err
	}
	return newKeeper(m, tell), nil
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
	defer func() {
		if p.width != 0 {
			k.machine.widen()
		}
	}()
	last, err := k.machine.read()
	if err != nil {
		return err
	}
	full := k.machine.full()
	timer := time.NewTimer(seldom)
	defer timer.Stop()
	for {
		nudged := false
		k.asleep.Store(full > 1 && p.heeds())
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
		before := p.width
		if before == 0 {
			full = k.machine.full() // the runtime follows the cgroup's limit
		}
		took := sample{now.at.Sub(last.at), now.idle - last.idle, now.used - last.used}
		last = now
		if after := p.next(full, took); after != before {
			c := Change{Width: after, Narrow: after != 0}
			c.Idle, c.Used = p.judged()
			if c.Narrow {
				k.machine.narrow(after)
			} else {
				full = k.machine.widen()
				c.Width = full
			}
			k.tell(c)
		}
		switch {
		case full == 1:
			timer.Reset(seldom)
			continue
		case nudged:
			p.wake()
		}
		timer.Reset(p.pause())
	}
}

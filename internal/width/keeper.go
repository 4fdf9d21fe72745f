package width

import (
	"context"
	"fmt"
	"os"
	"time"
)

const (
	often  = 100 * time.Millisecond // between looks while there is work
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
	// processors, over the last third of a second or so.
	Idle, Used float64
}

// Keeper narrows and widens Go's scheduler.
type Keeper struct {
	machine machine
	tell    func(Change)
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
	return &Keeper{m, tell}, nil
}

// Run watches until ctx ends, and then returns nil; it returns an error when the
// machine cannot be seen any more. It leaves the runtime's own width. Run may be
// called once.
func (k *Keeper) Run(ctx context.Context) error {
	defer k.machine.close()
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
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
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
		if p.resting() || full == 1 {
			timer.Reset(seldom)
		} else {
			timer.Reset(often)
		}
	}
}

package timing

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// nearby is how long what was made ready may be kept, ns, in place of being made
	// so shortly before its moment: it holds memory, and may be out of date.
	nearby = 50_000_000
	// fewWaiting is how many may keep it at once.
	fewWaiting = 256
)

// Near waits until what is due at the moment at should be made ready: until 1 to 2 ms
// before it, or not at all where it comes soon and few others wait. ctx and gone are as
// for SleepUntil, errors too.
func Near(ctx context.Context, gone <-chan struct{}, at time.Time) error {
	return standard.near(ctx, gone, at)
}

// Do calls do at the moment at, no more than 20 µs before it and as little after it as
// the machine allows, and returns when that was and when it was over. It returns once do
// has, or ctx's error where ctx ends before it is called. Nobody is woken for the moment
// but the clock: do is called in its goroutine, where others' moments wait for it. So it
// must not wait for anything, and take some µs at most.
//
// Where at is past, do is called at once. Under testing/synctest it is called exactly at.
func Do(ctx context.Context, at time.Time, do func()) (began, over time.Time, err error) {
	return standard.do(ctx, at, do)
}

func (c *Clock) near(ctx context.Context, gone <-chan struct{}, at time.Time) error {
	now := time.Now()
	wait := at.Sub(now)
	if err := ended(ctx, gone); err != nil || wait <= soon {
		return err
	}
	fake := bubbled(now)
	if !fake {
		c.opened.Do(c.open)
	}
	busy := c.busy.Add(1)
	defer c.busy.Add(-1)
	switch {
	case wait <= nearby && busy <= fewWaiting:
		return nil
	case fake || len(c.shards) == 0 || c.closed.Load():
		return sleepPlainly(ctx, gone, wait-soon)
	}
	s := c.shards[rand.IntN(len(c.shards))]
	err := c.queue(ctx, gone, s, int64(now.Sub(c.base))+min(int64(wait), farthest))
	if left := time.Until(at) - soon; err == nil && left > 0 {
		return sleepPlainly(ctx, gone, left) // the shard has ended
	}
	return err
}

func (c *Clock) do(ctx context.Context, at time.Time, do func()) (began, over time.Time, err error) {
	now := time.Now()
	wait := at.Sub(now)
	if err := ctx.Err(); err != nil {
		return now, now, err
	}
	if wait > 0 && !bubbled(now) {
		c.opened.Do(c.open)
		c.busy.Add(1)
		defer c.busy.Add(-1)
		if len(c.shards) > 0 && !c.closed.Load() {
			d := c.shards[rand.IntN(len(c.shards))].desk
			began, over, err := d.entrust(ctx, int64(now.Sub(c.base))+min(int64(wait), farthest), do)
			if over > 0 || err != nil {
				return c.base.Add(time.Duration(began)), c.base.Add(time.Duration(over)), err
			}
		}
	}
	if err := c.SleepUntil(ctx, nil, at); err != nil {
		return now, now, err
	}
	began = time.Now()
	do()
	return began, time.Now(), nil
}

// entrust has do called at the moment at. Zeros and no error say that the desk has ended
// and it was not.
func (d *desk) entrust(ctx context.Context, at int64, do func()) (began, over int64, err error) {
	w := d.clock.pool.Get().(*waiter)
	e := &w.errand
	w.at, e.desk, e.do = at, d, do
	if !d.add(w) {
		e.do = nil
		d.clock.pool.Put(w)
		return 0, 0, nil
	}
	stop := afterFunc(ctx, e.leaver)
	<-w.turn
	if !stop() {
		<-e.leaving // only then may the waiter be used again
	}
	began, over = e.began, e.over
	e.do, e.began, e.over = nil, 0, 0
	d.clock.pool.Put(w)
	if over == 0 {
		err = ctx.Err()
	}
	return began, over, err
}

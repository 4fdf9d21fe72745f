package timing

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// done has the clock do something, and holds it to its law: once, not early by more than
// 20 µs, and before it returns.
func done(t *testing.T, c *Clock, at time.Time) {
	t.Helper()
	var began time.Time
	calls := 0
	from, over, err := c.do(t.Context(), at, func() { began = time.Now(); calls++ })
	switch {
	case err != nil || calls != 1:
		t.Errorf("do = %v after %d calls, want one and no error", err, calls)
	case at.Sub(began) > earliest || at.Sub(from) > earliest:
		t.Errorf("called %s early and told as %s, want at most %s", at.Sub(began), at.Sub(from), time.Duration(earliest))
	case began.Before(from) || over.Before(began):
		t.Errorf("called at %s, told as %s to %s", began, from, over)
	}
}

func TestDoIsNeverEarly(t *testing.T) {
	for _, shards := range []int{1, 3} {
		c := newTestClock(t, shards)
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				r := rand.New(rand.NewPCG(7, uint64(i)))
				for range 20 {
					// Past ones, and from the spinning range to well beyond the depth of sleeps.
					done(t, c, time.Now().Add(time.Duration((r.ExpFloat64()-0.1)*float64(ms))))
				}
			})
		}
		all.Wait()
		if st := c.Stats(); st.Waiters != 0 || st.Ended > 200*20 {
			t.Errorf("Stats() = %+v, want 0 waiters and at most %d ended", st, 200*20)
		}
	}
}

// What is due is done in the order of its moments, what is not is left, and who waits is
// told in time.
func TestDeskKeepsOrder(t *testing.T) {
	c := newTestClock(t, 1)
	c.opened.Do(c.open)
	if len(c.shards) == 0 {
		t.Skip("no timerfd on this system: there is no desk")
	}
	d := c.shards[0].desk
	const all, due = 3*batch + 7, 2*batch + 3
	var order []int
	var in []*waiter
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(all) {
		w := newWaiter().(*waiter)
		w.at = int64(i) * int64(time.Hour)
		w.errand.do = func() { order = append(order, i) }
		in = append(in, w)
		d.heap.push(w)
	}
	d.mu.Lock()
	for d.next(int64(due-1)*int64(time.Hour) - ahead) {
	}
	d.mu.Unlock()
	if len(order) != due || !slices.IsSorted(order) {
		t.Errorf("done in the order %v, want the first %d of %d", order, due, all)
	}
	for _, w := range in {
		if first := w.at < int64(due)*int64(time.Hour); first != (len(w.turn) == 1) || first != (w.errand.over > 0) {
			t.Errorf("waiter of %s: told %v, done at %d", time.Duration(w.at), len(w.turn) == 1, w.errand.over)
		}
	}
}

// Who leaves has nothing done, or all of it; and hears which.
func TestDoCancellation(t *testing.T) {
	c := newTestClock(t, 2)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(9, uint64(i)))
			for range 20 {
				ctx, cancel := context.WithCancel(t.Context())
				after := time.AfterFunc(time.Duration(r.ExpFloat64()*float64(ms)), cancel)
				var calls atomic.Int32
				_, _, err := c.do(ctx, time.Now().Add(time.Duration(r.ExpFloat64()*float64(ms))), func() { calls.Add(1) })
				if n := calls.Load(); err == nil && n != 1 || err != nil && (n != 0 || !errors.Is(err, context.Canceled)) {
					t.Errorf("do = %v after %d calls", err, n)
				}
				after.Stop()
				cancel()
			}
		})
	}
	all.Wait()
	for _, s := range c.shards {
		s.desk.mu.Lock()
		if len(s.desk.heap) > 0 {
			t.Errorf("%d are left at a desk", len(s.desk.heap))
		}
		s.desk.mu.Unlock()
	}
}

func TestDoWithEndedContext(t *testing.T) {
	c := newTestClock(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, at := range []time.Time{time.Now().Add(-time.Hour), time.Now().Add(time.Hour)} {
		_, _, err := c.do(ctx, at, func() { t.Error("called for nobody") })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("do(ended context) = %v, want %v", err, context.Canceled)
		}
		if err := c.near(ctx, nil, at); !errors.Is(err, context.Canceled) {
			t.Errorf("near(ended context) = %v, want %v", err, context.Canceled)
		}
	}
}

// A clock that is closed, or whose alarm fails, keeps moments all the same.
func TestDoOutlivesItsDesk(t *testing.T) {
	c := newTestClock(t, 1)
	var all sync.WaitGroup
	for range 3 * batch {
		all.Go(func() { done(t, c, time.Now().Add(30*ms)) })
	}
	for c.Stats().Waiters < 3*batch {
		sleep(t, c, time.Now().Add(ms/4))
	}
	c.Close()
	all.Wait()
	done(t, c, time.Now().Add(ms))
}

// The goroutine goes when there was nothing to do for a while, and comes back.
func TestDeskEndsAndBeginsAgain(t *testing.T) {
	c := newTestClock(t, 1)
	for range 2 {
		done(t, c, time.Now().Add(ms))
		if len(c.shards) == 0 {
			t.Skip("no timerfd on this system: there is no desk")
		}
		c.shards[0].desk.stopped.Wait()
	}
}

func TestNear(t *testing.T) {
	c := newTestClock(t, 1)
	if err := c.near(t.Context(), nil, time.Now().Add(nearby/2)); err != nil { // nobody waits: at once
		t.Error(err)
	}
	at := time.Now().Add(nearby + 10*ms)
	if err := c.near(t.Context(), nil, at); err != nil {
		t.Error(err)
	}
	if !c.Stats().Precise {
		t.Skip("no timerfd on this system: Do waits alone")
	}
	if left := time.Until(at); left > soon {
		t.Errorf("near ended %s before the moment, want at most %s", left, time.Duration(soon))
	}
	if err := c.near(t.Context(), nil, time.Now().Add(-ms)); err != nil {
		t.Error(err)
	}
	gone := make(chan struct{})
	close(gone)
	if err := c.near(t.Context(), gone, time.Now().Add(time.Hour)); !errors.Is(err, ErrGone) {
		t.Errorf("near(gone client) = %v, want %v", err, ErrGone)
	}
}

func TestDoInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Now().Add(time.Hour)
		if err := Near(t.Context(), nil, at); err != nil || !time.Now().Before(at) {
			t.Errorf("Near = %v at %s, want nil before %s", err, time.Now(), at)
		}
		began, over, err := Do(t.Context(), at, func() {
			if !time.Now().Equal(at) {
				t.Errorf("called at %s, want %s", time.Now(), at)
			}
		})
		if err != nil || !began.Equal(at) || !over.Equal(at) {
			t.Errorf("Do = %s, %s, %v, want %s twice", began, over, err, at)
		}
	})
}

// A moment costs no memory, but for the pool, which loses some under the race detector.
func TestDoAllocatesNothing(t *testing.T) {
	c := newTestClock(t, 1)
	nothing := func() {}
	ctx := context.Background()
	if n := testing.AllocsPerRun(200, func() { _, _, _ = c.do(ctx, time.Now().Add(ms/4), nothing) }); n > 1 {
		t.Errorf("%v allocations a moment, want none", n)
	}
}

// Close while the desk is doing something: os.File.Close waits for the descriptor's last
// user, who waits for the desk's lock, which end holds.
func TestCloseWhileDoing(t *testing.T) {
	c := NewClock(1)
	doing := make(chan struct{})
	go func() {
		_, _, _ = c.do(context.Background(), time.Now().Add(5*ms), func() {
			close(doing)
			for begun := time.Now(); time.Since(begun) < 20*ms; { // it must not wait
			}
		})
	}()
	<-doing
	c.Close()
}

// Where there is no timerfd, near says that an hour's wait is near.
func TestNearWithoutAlarms(t *testing.T) {
	c := NewClock(1)
	c.Close()
	at := time.Now().Add(200 * ms)
	if err := c.near(t.Context(), nil, at); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(at); left > 50*ms {
		t.Errorf("near ended %v before the moment, want 2ms (or 50ms) at most", left)
	}
}

// A shard that has ended, in the wait or before it, does not say so either.
func TestNearOutlivesItsShard(t *testing.T) {
	c := newTestClock(t, 1)
	c.opened.Do(c.open)
	if len(c.shards) == 0 {
		t.Skip("no timerfd on this system: there are no shards")
	}
	s := c.shards[0]
	for _, when := range []string{"in the wait", "before"} {
		at := time.Now().Add(nearby + 300*ms)
		ended := make(chan error, 1)
		go func() { ended <- c.near(t.Context(), nil, at) }() // ends with the wait
		for waits := false; when != "before" && !waits && len(ended) == 0; runtime.Gosched() {
			s.mu.Lock()
			waits = len(s.heap) > 0
			s.mu.Unlock()
		}
		s.fail()
		err := <-ended
		if left := time.Until(at); err != nil || left > soon {
			t.Errorf("ended %s: near ended %v before the moment, %v, want %v at most", when, left, err, time.Duration(soon))
		}
	}
}

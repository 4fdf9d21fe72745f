package timing

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func newTestClock(t *testing.T, shards int) *Clock {
	t.Helper()
	c := NewClock(shards)
	t.Cleanup(c.Close)
	return c
}

// sleep waits, and holds the clock to its law: never early by more than 20 µs.
func sleep(t *testing.T, c *Clock, at time.Time) {
	t.Helper()
	if err := c.SleepUntil(t.Context(), nil, at); err != nil {
		t.Error(err)
	}
	if early := time.Until(at); early > earliest {
		t.Errorf("SleepUntil ended %s early, want at most %s", early, time.Duration(earliest))
	}
}

func TestClockIsNeverEarly(t *testing.T) {
	for _, shards := range []int{1, 3} {
		c := newTestClock(t, shards)
		const waiters, rounds = 200, 20
		var all sync.WaitGroup
		for i := range waiters {
			all.Go(func() {
				r := rand.New(rand.NewPCG(7, uint64(i)))
				for range rounds {
					// From the spinning range to well beyond the depth of sleeps.
					sleep(t, c, time.Now().Add(time.Duration(r.ExpFloat64()*float64(ms))))
				}
			})
		}
		all.Wait()
		st := c.Stats()
		if st.Waiters != 0 || st.Ended > waiters*rounds {
			t.Errorf("Stats() = %+v, want 0 waiters and at most %d ended", st, waiters*rounds)
		}
		if st.LatenessP50 < -earliest || st.LatenessP99 < st.LatenessP50 {
			t.Errorf("Stats() = %+v, want p50 not before -20µs and not after p99", st)
		}
	}
}

// A lone waiter goes the way through the spinning; many soon find it used up.
func TestClockIsNeverEarlyAlone(t *testing.T) {
	c := newTestClock(t, 1)
	at := time.Now()
	for range 100 {
		at = at.Add(2 * ms)
		sleep(t, c, at)
	}
}

// Whose moment is near is let go, all of them together and the earliest first.
func TestShardLetsGoInOrder(t *testing.T) {
	c := newTestClock(t, 1)
	c.opened.Do(c.open)
	if len(c.shards) == 0 {
		t.Skip("no timerfd on this system: there are no shards")
	}
	s := c.shards[0]
	var in []*waiter
	for _, at := range []int64{500, 100, 300, 319, 321, 200} {
		w := newWaiter().(*waiter)
		w.at = soon + at
		in = append(in, w)
		s.heap.push(w)
	}
	s.setFor = endless // no alarm goes off
	for _, step := range []struct {
		now  int64
		want []int64 // of all: the moments let go by then
	}{
		{50, nil},
		{99, nil},
		{100, []int64{100}},
		{319, []int64{100, 200, 300, 319}},
		{320, []int64{100, 200, 300, 319}},
		{1000, []int64{100, 200, 300, 319, 321, 500}},
	} {
		s.work(step.now)
		var moments []int64
		for _, w := range in {
			if len(w.turn) == 1 && w.index == outside {
				moments = append(moments, w.at-soon)
			}
		}
		if slices.Sort(moments); !slices.Equal(moments, step.want) {
			t.Errorf("after work(%d) %d were let go, want %d", step.now, moments, step.want)
		}
	}
}

func TestClockCancellation(t *testing.T) {
	c := newTestClock(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	var all sync.WaitGroup
	const waiters = 300
	for i := range waiters {
		at := time.Now().Add(time.Hour + time.Duration(i%17)*time.Minute)
		all.Go(func() {
			if err := c.SleepUntil(ctx, nil, at); !errors.Is(err, context.Canceled) {
				t.Errorf("SleepUntil(ended context) = %v, want %v", err, context.Canceled)
			}
		})
		all.Go(func() {
			if err := c.SleepUntil(t.Context(), gone, at); err != ErrGone {
				t.Errorf("SleepUntil(gone client) = %v, want %v", err, ErrGone)
			}
		})
	}
	for c.Stats().Waiters < 2*waiters {
		sleep(t, c, time.Now().Add(ms))
	}
	cancel()
	close(gone)
	all.Wait()
	for _, s := range c.shards {
		s.mu.Lock()
		if len(s.heap) > 0 {
			t.Errorf("%d waiters stayed in a shard, want 0", len(s.heap))
		}
		s.mu.Unlock()
	}
	if got := c.Stats().Waiters; got != 0 {
		t.Errorf("Waiters = %d, want 0", got)
	}
}

// Contexts that end just when the moment comes must not leave a turn behind
// in a pooled waiter: the next wait with it would end early.
func TestClockCancellationMeetsTheMoment(t *testing.T) {
	c := newTestClock(t, 1)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for j := range 40 {
				at := time.Now().Add(time.Duration(200+i) * time.Microsecond)
				ctx, cancel := context.WithDeadline(t.Context(), at.Add(time.Duration(j-20)*20*time.Microsecond))
				if err := c.SleepUntil(ctx, nil, at); err == nil && time.Until(at) > earliest {
					t.Errorf("SleepUntil ended %s early", time.Until(at))
				}
				cancel()
				sleep(t, c, time.Now().Add(300*time.Microsecond))
			}
		})
	}
	all.Wait()
}

// Where there is no timerfd the moments are kept, and the figures say how.
func TestClockWithoutAlarms(t *testing.T) {
	c := &Clock{} // of no shards
	for range 3 {
		sleep(t, c, time.Now().Add(ms))
	}
	ctx, cancel := context.WithTimeout(t.Context(), ms)
	defer cancel()
	if err := c.SleepUntil(ctx, nil, time.Now().Add(time.Hour)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("SleepUntil(context of 1ms) = %v, want %v", err, context.DeadlineExceeded)
	}
	if st := c.Stats(); st.Precise || st.Ended != 3 || st.LatenessP50 < -earliest {
		t.Errorf("Stats() = %+v, want not precise, 3 ended, p50 not before -20µs", st)
	}
}

func TestClockGoroutinesEnd(t *testing.T) {
	before := goleak.IgnoreCurrent()
	c := newTestClock(t, 2)
	goleak.VerifyNone(t, before) // none before the first wait
	for range 8 {
		sleep(t, c, time.Now().Add(ms))
	}
	goleak.VerifyNone(t, before) // none some time after the last
	sleep(t, c, time.Now().Add(ms))
}

func TestClockClosed(t *testing.T) {
	c := newTestClock(t, 2)
	var all sync.WaitGroup
	at := time.Now().Add(30 * ms)
	for range 20 {
		all.Go(func() { sleep(t, c, at) })
	}
	for c.Stats().Waiters < 20 {
		sleep(t, c, time.Now().Add(ms/10))
	}
	c.Close()
	c.Close()
	all.Wait()
	sleep(t, c, time.Now().Add(ms))
	if st := c.Stats(); st.Precise || st.Ended < 21 {
		t.Errorf("Stats() = %+v, want not precise, at least 21 ended", st)
	}
	unused := NewClock(1)
	unused.Close()
	sleep(t, unused, time.Now().Add(ms))
}

// A timerfd that fails costs exactness, not the moment.
func TestClockAlarmFails(t *testing.T) {
	c := newTestClock(t, 1)
	var all sync.WaitGroup
	at := time.Now().Add(20 * ms)
	for range 5 {
		all.Go(func() { sleep(t, c, at) })
	}
	for c.Stats().Waiters < 5 {
		sleep(t, c, time.Now().Add(ms/10))
	}
	for _, s := range c.shards {
		s.mu.Lock()
		for _, seat := range s.seats {
			seat.alarm.close()
		}
		s.mu.Unlock()
	}
	all.Wait()
	sleep(t, c, time.Now().Add(ms))
	if c.Stats().Precise {
		t.Error("Precise without an alarm = true, want false")
	}
}

func TestClockInABubble(t *testing.T) {
	c := newTestClock(t, 1)
	sleep(t, c, time.Now().Add(ms)) // the same clock outside, before and after
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if !bubbled(start) {
			t.Fatal("bubbled(time.Now()) in a bubble = false, want true")
		}
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				wait := time.Duration(i) * time.Hour / 3
				if err := c.SleepUntil(t.Context(), nil, start.Add(wait)); err != nil {
					t.Error(err)
				}
				if got := time.Since(start); got != wait {
					t.Errorf("waited %s, want %s", got, wait)
				}
			})
		}
		all.Wait()
	})
	if bubbled(time.Now()) {
		t.Error("bubbled(time.Now()) outside = true, want false")
	}
	sleep(t, c, time.Now().Add(ms))
	// A moment without a monotonic reading comes as well.
	sleep(t, c, time.Now().Round(0).Add(ms))
}

// A wait that is given up leaves nothing behind, however far off its moment was.
func TestCancelledWaitLeavesNothing(t *testing.T) {
	c := NewClock(1)
	defer c.Close()
	gone, waits := make(chan struct{}), make(chan error, 1)
	go func() { // ends with gone
		waits <- c.SleepUntil(context.Background(), gone, time.Now().Add(100*365*24*time.Hour))
	}()
	for c.Stats().Waiters == 0 {
		runtime.Gosched()
	}
	close(gone)
	if err := <-waits; !errors.Is(err, ErrGone) {
		t.Fatalf("SleepUntil = %v, want ErrGone", err)
	}
	if len(c.shards) == 0 {
		t.Skip("no precise clock here: the runtime's timers have no goroutine to leave")
	}
	ended := make(chan struct{})
	go func() { // ends with the shard's goroutine
		c.shards[0].stopped.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the clock's goroutine waits for a moment that nobody waits for")
	}
}

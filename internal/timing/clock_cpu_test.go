//go:build unix

package timing

import (
	"context"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Waiting is free: it is the wake-ups that cost.
func TestTenThousandWaitersCostNothing(t *testing.T) {
	c := newTestClock(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	const waiters = 10_000
	for i := range waiters {
		at := time.Now().Add(time.Hour + time.Duration(i)*ms)
		all.Go(func() { _ = c.SleepUntil(ctx, nil, at) })
	}
	for c.Stats().Waiters < waiters {
		sleep(t, c, time.Now().Add(ms))
	}
	runtime.GC() // not during the measurement
	const window = 200 * ms
	before := cpuTime(t)
	sleep(t, c, time.Now().Add(window))
	if got := cpuTime(t) - before; got > window/10 {
		t.Errorf("10,000 waiters took %s of processor time in %s, want about 0s", got, window)
	}
	cancel()
	all.Wait()
}

// cpuTime returns the processor time that this process has used.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

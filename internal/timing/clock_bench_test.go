//go:build unix

package timing

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkLateness compares, in one run and by turns, what keeps a moment:
// p50 and p99 of how late a wait ended, and the process's CPU time for each.
// An operation is one block of all of them.
func BenchmarkLateness(b *testing.B) {
	clock := NewClock(0)
	defer clock.Close()
	ctx := b.Context()
	methods := []struct {
		name  string
		sleep func(at time.Time)
	}{
		{"clock", func(at time.Time) { _ = clock.SleepUntil(ctx, nil, at) }},
		{"timer", func(at time.Time) { _ = sleepPlainly(context.Background(), nil, time.Until(at)) }},
		{"sleep", func(at time.Time) { time.Sleep(time.Until(at)) }},
	}
	for _, load := range []struct {
		waiters, rounds int
		wait            time.Duration
	}{{1, 30, 10 * ms}, {64, 30, 10 * ms}, {10_000, 1, 1000 * ms}} {
		b.Run(fmt.Sprintf("waiters=%d", load.waiters), func(b *testing.B) {
			late := make([][]time.Duration, len(methods))
			cpu := make([]time.Duration, len(methods))
			for b.Loop() {
				for m, method := range methods {
					before := cpuTime(b)
					late[m] = append(late[m], waitAll(load.waiters, load.rounds, load.wait, method.sleep)...)
					cpu[m] += cpuTime(b) - before
				}
			}
			for m, method := range methods {
				slices.Sort(late[m])
				µs := func(d time.Duration) float64 { return float64(d) / 1e3 }
				b.ReportMetric(µs(Quantile(late[m], 0.5)), method.name+"-p50-µs")
				b.ReportMetric(µs(Quantile(late[m], 0.99)), method.name+"-p99-µs")
				b.ReportMetric(µs(cpu[m])/float64(len(late[m])), method.name+"-cpu-µs")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
	b.Logf("%+v", clock.Stats())
}

// waitAll lets so many goroutines wait by turns, each from its own phase of the
// wait on, and returns how late each wait ended.
func waitAll(waiters, rounds int, wait time.Duration, sleep func(time.Time)) []time.Duration {
	late := make([]time.Duration, waiters*rounds)
	var all sync.WaitGroup
	start := time.Now()
	for i := range waiters {
		all.Go(func() {
			at := start.Add(wait * time.Duration(i) / time.Duration(waiters))
			for r := range rounds {
				at = at.Add(wait)
				sleep(at)
				late[i*rounds+r] = time.Since(at)
			}
		})
	}
	all.Wait()
	return late
}

//go:build unix

package timing

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkClumps is the wait of many whose moments lie in clumps, as those of a
// client do that sends in one go what it read in one go: 64 waiters of 10 ms, whose
// moments are 8 µs apart within a clump; 10 µs of work are then done. It tells
// how late the first of a clump was, and how late the others were.
func BenchmarkClumps(b *testing.B) {
	b.Run("wait", func(b *testing.B) { clumps(b, false) })
	b.Run("do", func(b *testing.B) { clumps(b, true) })
}

// clumps has the work done by the clock, or by who waited.
func clumps(b *testing.B, byClock bool) {
	clock := NewClock(0)
	defer clock.Close()
	const waiters, rounds, wait, apart, work = 64, 60, 10 * ms, 8 * time.Microsecond, 10 * time.Microsecond
	toil := func() {
		for begun := time.Now(); time.Since(begun) < work; {
		}
	}
	var first, others []time.Duration
	before, n := cpuTime(b), 0
	for b.Loop() {
		r := rand.New(rand.NewPCG(1, 2))
		var phases []time.Duration // of each waiter
		leads := make([]bool, waiters)
		for len(phases) < waiters {
			begin := time.Duration(r.Int64N(int64(wait)))
			for i := range 1 + r.IntN(8) {
				if len(phases) < waiters {
					leads[len(phases)] = i == 0
					phases = append(phases, begin+time.Duration(i)*apart)
				}
			}
		}
		late := make([][]time.Duration, waiters)
		start := time.Now()
		var all sync.WaitGroup
		for i := range waiters {
			all.Go(func() {
				for k := range rounds {
					at := start.Add(wait*time.Duration(k+1) + phases[i])
					if byClock {
						now, _, _ := clock.do(context.Background(), at, toil)
						late[i] = append(late[i], now.Sub(at))
						continue
					}
					_ = clock.SleepUntil(context.Background(), nil, at)
					late[i] = append(late[i], time.Since(at))
					toil()
				}
			})
		}
		all.Wait()
		for i, l := range late {
			n += len(l)
			if leads[i] {
				first = append(first, l...)
			} else {
				others = append(others, l...)
			}
		}
	}
	cpu := cpuTime(b) - before
	µs := func(d time.Duration) float64 { return float64(d) / 1e3 }
	for name, l := range map[string][]time.Duration{"first": first, "others": others} {
		slices.Sort(l)
		b.ReportMetric(µs(Quantile(l, 0.1)), name+"-p10-µs")
		b.ReportMetric(µs(Quantile(l, 0.5)), name+"-p50-µs")
		b.ReportMetric(µs(Quantile(l, 0.9)), name+"-p90-µs")
		b.ReportMetric(µs(Quantile(l, 0.99)), name+"-p99-µs")
	}
	b.ReportMetric(µs(cpu)/float64(n), "cpu-µs")
	b.ReportMetric(0, "ns/op")
	b.Logf("%+v deep %d/%d light %d/%d", clock.Stats(), clock.wake.deep.low.value.Load(), clock.wake.deep.high.value.Load(), clock.wake.light.low.value.Load(), clock.wake.light.high.value.Load())
}

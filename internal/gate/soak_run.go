package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// soaking is a scenario with its load and what was found so far.
type soaking struct {
	*Soaked
	report *SoakedReport
	loads  []*wayLoad
	cpu    time.Duration // used when the load began
	missed int           // readings that failed one after the other
}

// soakShare of what the machine can do is asked of it: far enough from saturation
// that queues do not grow by themselves.
const soakShare = 0.5

// settling bounds the wait for the idle level before and after the load.
const settling = 30 * time.Second

// spreadOver divides connections by the ways' weights; each gets one at least.
func spreadOver(connections int, ways []Way) []int {
	sum := 0
	for _, w := range ways {
		sum += w.Weight
	}
	parts, left := make([]int, len(ways)), connections
	for i := len(ways) - 1; i > 0; i-- {
		parts[i] = max(1, connections*ways[i].Weight/sum)
		left -= parts[i]
	}
	parts[0] = max(1, left)
	return parts
}

// calibrate asks everything of everybody at once, without faults, and takes half.
func calibrate(ctx context.Context, all []*soaking, o SoakOptions) error {
	o.Progress(fmt.Sprintf("soak: %s of full load, to know what half of it is", o.calibration()))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var found []error
	for _, s := range all {
		for _, w := range s.loads {
			wg.Go(func() {
				r, err := firstAnswers(ctx, w.at.load(LoadOptions{Connections: w.connections, Duration: o.calibration()}))
				w.rate = r.Throughput() * soakShare
				if err == nil && (r.Errors > 0 || w.rate == 0) {
					err = fmt.Errorf("%d requests answered, %d failed, the first with: %s", r.Requests, r.Errors, r.FirstError)
				}
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					found = append(found, fmt.Errorf("scenario %s: %s: %w", s.report.Name, w.at.URL, err))
				}
			})
		}
	}
	wg.Wait()
	return errors.Join(found...)
}

// firstAnswers loads, again where nothing was answered yet: on a machine that is busy
// with other things a short load may end before the first answer.
func firstAnswers(ctx context.Context, o LoadOptions) (r LoadResult, err error) {
	const tries = 10
	for range tries {
		if r, err = RunLoad(ctx, o); err != nil || r.Requests > 0 || r.Errors > 0 {
			break
		}
	}
	return r, err
}

// soakAll finds the idle levels, loads, samples, and finds the idle levels again.
func soakAll(ctx context.Context, all []*soaking, o SoakOptions) error {
	if err := settleAll(ctx, all, o, func(r *SoakedReport) (*Vitals, *Vitals) { return &r.Before, nil }); err != nil {
		return err
	}
	for _, s := range all {
		if s.report.Failure != "" {
			return fmt.Errorf("scenario %s: %s", s.report.Name, s.report.Failure)
		}
		s.cpu, _ = cpuTime(s.PID) // 0 where it cannot be read
		for _, w := range s.loads {
			s.report.Rate += w.rate
		}
	}
	loading, end := context.WithTimeout(ctx, o.Duration)
	defer end()
	wait := loadAll(loading, all, o.Seed+1)
	sampleAll(loading, end, all, o)
	for _, s := range all {
		if used, err := cpuTime(s.PID); err == nil {
			s.report.CPU = (used - s.cpu).Seconds() / o.Duration.Seconds()
		}
	}
	wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("soak: %w", err)
	}
	for _, s := range all {
		for _, w := range s.loads {
			s.report.Counts.add(w.counts)
		}
	}
	return settleAll(ctx, all, o, func(r *SoakedReport) (*Vitals, *Vitals) { return &r.After, &r.Before })
}

// loadAll begins to load all ways with faults, anew counted. The load ends with ctx;
// wait returns when it has.
func loadAll(ctx context.Context, all []*soaking, seed uint64) (wait func()) {
	var wg sync.WaitGroup
	for n, s := range all {
		for k, w := range s.loads {
			w.counts = new(wayCounts)
			wg.Go(func() { w.run(ctx, seed+uint64(n)<<32+uint64(k)<<16) })
		}
	}
	return wg.Wait
}

// settleAll finds the idle level of all at once: the first of what where names, no
// more than the second where there is one.
func settleAll(ctx context.Context, all []*soaking, o SoakOptions, where func(*SoakedReport) (level, want *Vitals)) error {
	o.Progress("soak: waiting for the idle level")
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() {
			level, want := where(s.report)
			var err error
			if *level, err = s.settle(ctx, want); err != nil {
				s.report.failed(err)
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// maxMissed readings in a row mean that a process is gone.
const maxMissed = 3

// sampleAll reads until ctx ends, or ends it when a process is gone.
func sampleAll(ctx context.Context, end func(), all []*soaking, o SoakOptions) {
	start := time.Now()
	tick := time.NewTicker(o.every())
	defer tick.Stop()
	told := start
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, s := range all {
			v, err := s.Vitals(ctx)
			switch {
			case err == nil:
				s.missed = 0
				s.report.Samples = append(s.report.Samples, Sample{time.Since(start), v})
			case ctx.Err() != nil:
				return
			default:
				if s.missed++; s.missed == maxMissed {
					s.report.failed(err)
					end()
					return
				}
			}
		}
		if time.Since(told) >= max(o.Duration/60, time.Second) {
			told = time.Now()
			o.Progress(progressLine(time.Since(start), all))
		}
	}
}

func progressLine(at time.Duration, all []*soaking) string {
	parts := make([]string, 0, len(all))
	for _, s := range all {
		if n := len(s.report.Samples); n > 0 {
			v := s.report.Samples[n-1]
			parts = append(parts, fmt.Sprintf("%s %.1f MiB (heap %.1f), %d descriptors, %d goroutines, %d threads",
				s.report.Name, float64(v.RSS)/(1<<20), float64(v.Heap)/(1<<20), v.Descriptors, v.Goroutines, v.Threads))
		}
	}
	return fmt.Sprintf("soak: %s: %s", at.Round(time.Second), strings.Join(parts, "; "))
}

// settle waits until descriptors and goroutines have stood still for a while and
// are about those of want, or until the time is up. A nil want is any level.
func (s *soaking) settle(ctx context.Context, want *Vitals) (last Vitals, err error) {
	const readings = 12 // in a row, a quarter of a second apart: longer than idle connections are kept
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	still, at := 0, Vitals{}
	near := func(a, b int64) bool { return a-b <= 1 && b-a <= 1 } // reading opens a connection, too
	for until := time.Now().Add(settling); time.Now().Before(until); {
		v, err := s.Vitals(ctx)
		if err != nil {
			return last, fmt.Errorf("read the idle level: %w", err)
		}
		if still++; !near(v.Descriptors, at.Descriptors) || !near(v.Goroutines, at.Goroutines) {
			still, at = 0, v
		}
		last = v
		if still >= readings && (want == nil || s.back(*want, v)) {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, ctx.Err()
		}
	}
	return last, nil
}

// back reports whether v is the idle level again.
func (s *soaking) back(want, v Vitals) bool {
	return !slices.ContainsFunc(returned(want, v, s.report.Connections), func(m Metric) bool { return m.Verdict != Pass })
}

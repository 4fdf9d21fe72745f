package gate

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// An hour of HTTP/2 beside other work had 31 goroutines at rest and 3 more for each of
// 16 requests: as often one number of them under way as another, and independent from
// one reading to the next.
const busyRest, busyMost = 31, 48

// busy is an hour's soak with so many goroutines at work, and so many more that grew,
// after a part of it in [0, 1]; and what is left after it.
func busy(seed uint64, work func(part float64, r *rand.Rand) int64, grew func(part float64) float64, left int64) (*SoakedReport, SoakOptions) {
	o, r := SoakOptions{Duration: time.Hour, Level: 0.99}, rand.New(rand.NewPCG(seed, 7))
	level := Vitals{RSS: 40 << 20, Heap: 20 << 20, Descriptors: 20, Goroutines: 15, Threads: 8}
	s := &SoakedReport{Name: "busy", Connections: 16, Before: level, After: level}
	s.After.Goroutines += left
	for at := o.every(); at <= o.Duration; at += o.every() {
		v, part := level, float64(at)/float64(o.Duration)
		v.Goroutines = busyRest + work(part, r) + int64(grew(part))
		v.Collections = int64(at / time.Second)
		s.Samples = append(s.Samples, Sample{at, v})
	}
	return s, o
}

func TestGrowthIsToldFromWhatIsAtWork(t *testing.T) {
	all := func(_ float64, r *rand.Rand) int64 { return r.Int64N(busyMost + 1) }
	calmer := func(part float64, r *rand.Rand) int64 {
		if part > 0.5 {
			return r.Int64N(3)
		}
		return 20 + r.Int64N(busyMost-19)
	}
	busier := func(part float64, r *rand.Rand) int64 { return calmer(1-part, r) }
	level := func(float64) float64 { return 0 }
	leak := func(anHour float64) func(float64) float64 { return func(part float64) float64 { return part * anHour } }
	limit := DefaultSoakLimits["goroutines"].Value
	const trend, rest = "goroutines_per_hour", "goroutines_left"
	tests := []struct {
		name string
		work func(float64, *rand.Rand) int64
		grew func(float64) float64
		left int64
		want map[string]Verdict // of the two; the rest passes
		note string             // of the trend
	}{
		{"no leak", all, level, 0, nil, ""},
		{"a leak of twice the limit", all, leak(2 * limit), 16, map[string]Verdict{trend: Fail, rest: Fail}, "; left after the load: 16"},
		{"a leak of one and a half of the limit", all, leak(1.5 * limit), 12, map[string]Verdict{trend: Fail, rest: Fail}, ""},
		{"a leak of half of the limit, too small for an hour", all, leak(limit / 2), 4, nil, ""},
		// What the trend cannot see while less and less is at work is there at the end.
		{"a leak of twice the limit while the machine comes to rest", calmer, leak(2 * limit), 16, map[string]Verdict{trend: Inconclusive, rest: Fail}, ""},
		// A pool that grows for as long as there is load is a finding, although the end of
		// the load empties it: a load without end would not.
		{"a pool that grows by twice the limit, emptied at the end", all, leak(2 * limit), 0, map[string]Verdict{trend: Fail}, "; left after the load: 0"},
		// One step cannot be told from a trend, nor from none; it never fails by itself.
		{"no leak, while the machine becomes busier once", busier, level, 0, map[string]Verdict{trend: Inconclusive}, "; left after the load: 0"},
		{"a pool that is full after a tenth of the time", all, func(part float64) float64 { return 40 * min(1, 10*part) }, 0, nil, ""},
		{"a pool that grows by half of the limit", all, leak(limit / 2), 0, nil, ""},
	}
	for _, tt := range tests {
		for seed := range uint64(20) { // chance has no part in it
			s, o := busy(seed, tt.work, tt.grew, tt.left)
			if err := s.judge(o); err != nil {
				t.Fatal(err)
			}
			for _, m := range s.Metrics {
				want := Pass
				if v, ok := tt.want[m.Name]; ok {
					want = v
				}
				if m.Verdict != want || m.Name == trend && !strings.HasSuffix(m.Note, tt.note) {
					t.Errorf("%s, seed %d: %s = %s, %.1f [%.1f, %.1f] (%s), want %s (%s)", tt.name, seed, m.Name, m.Verdict, m.Estimate, m.Low, m.High, m.Note, want, tt.note)
				}
			}
		}
	}
}

// A finding says what is left after the load, and one without a figure says why but once.
func TestFindingsOfASoakSayWhatTheyAre(t *testing.T) {
	s, o := busy(1, func(float64, *rand.Rand) int64 { return 0 }, func(part float64) float64 { return 40 * part }, 0)
	for i := range s.Samples {
		s.Samples[i].Collections = 0
	}
	if err := s.judge(o); err != nil {
		t.Fatal(err)
	}
	got := (&SoakReport{Scenarios: []SoakedReport{*s}}).grown()
	want := `open: busy: rss_per_hour: want ≤ 16.0MiB, not measured: 0 collections after the warm-up, 8 would tell
open: busy: heap_per_hour: want ≤ 4.0MiB, not measured: 0 collections after the warm-up, 8 would tell
grew: busy: goroutines_per_hour: want ≤ 8, got 40.0 in [39.1, 40.4] (from 35 to 69; left after the load: 0)
`
	if got != want {
		t.Errorf("findings:\n%s\nwant\n%s", got, want)
	}
}

package station

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"
)

// visitsOf reads visits off bytes, small numbers for the most part.
func visitsOf(data []byte, extreme bool) []Visit {
	var visits []Visit
	for len(data) >= 8 && len(visits) < 400 {
		n := func(i int) time.Duration { return time.Duration(int16(binary.LittleEndian.Uint16(data[i:]))) }
		v := Visit{At: n(0), Operation: int(data[6] % 3), Size: int64(data[7]), Source: uint64(data[7] % 5)}
		v.First = v.At + n(2)/64
		v.End = v.First + max(n(4)/256, -1)
		if extreme && data[6] > 250 {
			v.At, v.First, v.End = math.MinInt64, math.MaxInt64, math.MinInt64+n(4)
			v.Operation, v.Size = math.MinInt, math.MinInt64
		}
		visits = append(visits, v)
		data = data[8:]
	}
	return visits
}

// Whatever was recorded, nothing breaks, and what a station can have served it serves again
// as it was recorded.
func FuzzInvert(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"), uint8(3), int64(20), false)
	f.Add(make([]byte, 400), uint8(1), int64(0), true)
	f.Add([]byte("\x00\x00\x00\x05\x00\x00\x00\x00\x01\x00\x40\x01\x00\x00\x00\x00"), uint8(1), int64(0), false) // overtaken
	f.Fuzz(func(t *testing.T, data []byte, servers uint8, fixed int64, ps bool) {
		visits := visitsOf(data, true)
		for _, s := range []Station{
			{FIFO, int(servers), time.Duration(fixed), 0}, {PS, int(servers), time.Duration(fixed), 0},
			{FIFO, int(servers), 0, float64(fixed) / 100}, {PS, int(servers), 0, float64(fixed) / 100},
			{FIFO, math.MaxInt, 0, math.NaN()}, {PS, math.MaxInt, math.MinInt64, math.Inf(1)},
		} {
			x, _ := s.Demands(visits)
			if len(x) != len(visits) {
				t.Fatalf("%d demands of %d visits", len(x), len(visits))
			}
			for i := range x {
				if x[i] < 0 {
					t.Fatalf("visit %d demands %v", i, x[i])
				}
			}
			s.Simulate(visits, x)
			s.SimulateClosed(visits, x)
			NewDrawer(Result{Station: s, Quality: Good}, visits, 1).Draw(1, 3, 50)
		}
		NewDrawer(Result{Quality: ByLoad}, visits, 1).Draw(1, math.MinInt, 50)

		visits = visitsOf(data, false)
		for i := range visits {
			v := &visits[i]
			v.First = max(v.First, v.At)
			v.End = max(v.End, v.First)
		}
		s := Station{FIFO, int(servers), time.Duration(max(fixed, 0)), 0}
		law := func(s *Station, exact time.Duration) {
			t.Helper()
			x, violations := s.Demands(visits)
			out := s.Simulate(visits, x)
			if s.Discipline == FIFO && s.Servers == 1 && overtake(s, visits) {
				// It has the same work, and never rests while there is some.
				if got, want := lastEnd(out), lastEnd(visits); got > want {
					t.Fatalf("%+v is done at %v, want %v at the latest", s, got, want)
				}
				return
			}
			off := 0
			for i := range out {
				if (out[i].First - visits[i].First).Abs() > exact {
					off++
				}
			}
			if off > violations {
				t.Fatalf("%+v: %d of %d visits come out otherwise, want only the %d violated ones", s, off, len(visits), violations)
			}
		}
		law(&s, 0)
		if s.Discipline = PS; ps && !slices.ContainsFunc(visits, func(v Visit) bool { return v.End > v.First }) {
			law(&s, time.Duration(2+len(visits)))
		}
	})
}

// overtake reports whether visits that came to s were answered in another order.
func overtake(s *Station, visits []Visit) bool {
	came := slices.DeleteFunc(slices.Clone(visits), func(v Visit) bool { return v.latency() <= s.fixed() })
	slices.SortStableFunc(came, func(a, b Visit) int { return cmp.Compare(a.At, b.At) })
	return !slices.IsSortedFunc(came, func(a, b Visit) int { return cmp.Compare(a.First, b.First) })
}

func lastEnd(visits []Visit) (last time.Duration) {
	for i := range visits {
		last = max(last, visits[i].End)
	}
	return last
}

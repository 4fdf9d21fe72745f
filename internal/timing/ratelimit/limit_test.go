package ratelimit

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBucket(t *testing.T) {
	v := NewLive(Limit{Rate: 10, Burst: 3})
	ask := func(at time.Duration, want ...bool) {
		t.Helper()
		for i, w := range want {
			if got := v.Accept(at); got != w {
				t.Fatalf("request %d at %v: accepted %v, want %v", i+1, at, got, w)
			}
		}
	}
	ask(0, true, true, true, false)
	ask(99*time.Millisecond, false)
	ask(100*time.Millisecond, true, false)
	ask(time.Hour, true, true, true, false) // it holds three
	ask(time.Hour-time.Second, false)       // who comes late gets no more
	v.Reset()
	ask(0, true, true, true, false)
	v = NewLive(Limit{Rate: 60.05, Burst: 4}) // whose tokens take no whole number of ns
	ask(0, true, true, true, true, false)
}

func TestWindow(t *testing.T) {
	v := NewLive(Limit{Requests: 2, Window: time.Second})
	for _, c := range []struct {
		at   time.Duration
		want bool
	}{{500 * time.Millisecond, true}, {1400 * time.Millisecond, true}, {1499 * time.Millisecond, false}, {1500 * time.Millisecond, true}, {2400 * time.Millisecond, true}, {2499 * time.Millisecond, false}} {
		if got := v.Accept(c.at); got != c.want {
			t.Errorf("at %v: accepted %v, want %v", c.at, got, c.want)
		}
	}
}

// Goroutines that ask at once get together what one would.
func TestAtOnce(t *testing.T) {
	for _, l := range []Limit{{Rate: 1, Burst: 1000}, {Requests: 1000, Window: time.Hour}} {
		v := NewLive(l)
		var accepted atomic.Int64
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 1000 {
					if v.Accept(time.Millisecond) {
						accepted.Add(1)
					}
				}
			})
		}
		all.Wait()
		if n := accepted.Load(); n != 1000 {
			t.Errorf("%v: %d of 4000 at once accepted, want 1000", l, n)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		l     Limit
		field string
	}{
		{Limit{Rate: 5, Burst: 1}, ""}, {Limit{Requests: 5, Window: time.Minute}, ""},
		{Limit{}, "rate"}, {Limit{Rate: -1, Burst: 1}, "rate"}, {Limit{Rate: math.NaN(), Burst: 1}, "rate"}, {Limit{Rate: 5}, "burst"},
		{Limit{Rate: 5, Burst: math.Inf(1)}, "burst"}, {Limit{Rate: MinRate, Burst: MaxBurst}, "burst"}, {Limit{Requests: 5}, "window"},
		{Limit{Window: time.Minute}, "requests"}, {Limit{Rate: 1, Burst: 1, Requests: 1, Window: time.Minute}, "window"},
	} {
		if field, why := c.l.Check(); field != c.field || (field == "") != (why == "") {
			t.Errorf("Check of %+v = %q: %q, want %q", c.l, field, why, c.field)
		}
	}
}

// No window of requests that were accepted has more than burst + rate × its length, whatever
// comes; and a bucket that is told by its own answers is the one that gave them.
func FuzzBucket(f *testing.F) {
	f.Add(50.0, 20.0, uint64(1), 0.5)
	f.Add(1e6, 1.0, uint64(2), 1.0)
	f.Add(0.001, 1e9, uint64(3), 0.1)
	f.Add(3.0, 7.5, uint64(4), 0.9)
	f.Add(999978.0, 2.0, uint64(82), 0.5)
	f.Add(73.0, 1.14, uint64(119), 0.31)
	f.Fuzz(func(t *testing.T, rate, burst float64, seed uint64, part float64) {
		l := Limit{Rate: rate, Burst: burst}
		if _, why := l.Check(); why != "" || !(part > 0 && part <= 1) {
			return
		}
		if l.Burst/l.Rate > 1e7 {
			return // float64 has too few digits for the law below
		}
		r := rand.New(rand.NewPCG(seed, 1))
		at := arrivals(r, load{part * rate, time.Duration(min(1e9, 500/rate) * 1e9)}, load{1.3 * rate, time.Duration(min(1e9, 700/rate) * 1e9)}, load{2 * rate, time.Duration(min(1e9, 700/rate) * 1e9)})
		requests := recorded(nil, at, NewLive(l).Accept)
		n, low := 0.0, math.Inf(1)
		for i := range requests {
			if requests[i].Refused {
				continue
			}
			came := n - rate*requests[i].At.Seconds()
			low = min(low, came)
			n++
			if over := came - low + 1 - burst; over > 1e-6*burst {
				t.Fatalf("%v: %v more accepted than it may up to %v", l, over, requests[i].At)
			}
		}
		l.Burst = math.Floor(burst) // as servers have it, and Fit finds it
		got := Fit(recorded(nil, at, NewLive(l).Accept))
		if got.Quality == AsRecorded {
			return
		}
		if got.Limit.Window != 0 || math.Abs(got.Limit.Rate/rate-1) > 0.1 {
			t.Fatalf("Fit of %v = %v (%s, off by %v, identified %v)", l, got.Limit, got.Quality, got.Off, got.Identified)
		}
	})
}

// Whatever was recorded and told, a fit ends, and what it finds can be kept.
func FuzzFit(f *testing.F) {
	f.Add(make([]byte, 600))
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var requests []Request
		for ; len(data) >= 4 && len(requests) < 500; data = data[4:] {
			q := Request{At: time.Duration(int16(uint16(data[0])|uint16(data[1])<<8)) << (data[2] % 40), Refused: data[3]&1 == 1}
			if data[3]&2 != 0 {
				q.Told = Told{Requests: int(int8(data[2])), Left: time.Duration(int8(data[3])) * time.Second, Window: time.Duration(data[3]>>6) * time.Hour}
			}
			requests = append(requests, q)
		}
		got := Fit(requests)
		if got.Quality == AsRecorded {
			if got.Limit != (Limit{}) || got.Why == "" {
				t.Fatalf("refused with %+v", got)
			}
			return
		}
		if field, why := got.Limit.Check(); why != "" {
			t.Fatalf("found %+v: %s: %s", got.Limit, field, why)
		}
	})
}

func BenchmarkAccept(b *testing.B) {
	v := NewLive(Limit{Rate: 1e6, Burst: 1e6})
	for i := 0; b.Loop(); i++ {
		v.Accept(time.Duration(i) * 1000)
	}
}

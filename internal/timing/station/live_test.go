package station

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// demands is a Drawer of given demands, one after the other.
type demands []time.Duration

func (d *demands) Draw(int, int, int64) time.Duration {
	x := (*d)[0]
	*d = (*d)[1:]
	return x
}

// caller is a request of the law's test.
type caller struct {
	at, demand, tail time.Duration
	leaves           time.Duration // when its client does; 0 for not
	late             time.Duration // by how much its Leave comes after its answer's end
}

// brute says when answers are due by small steps: nothing of it is Live's way.
func brute(s Station, callers []caller, step float64) []float64 {
	type job struct {
		entry, left, first, end float64
		done, gone              bool
	}
	jobs := make([]job, len(callers))
	out := make([]float64, len(callers))
	for i, c := range callers {
		delay, service := s.Split(c.demand)
		jobs[i] = job{entry: float64(c.at + delay), left: float64(service), first: math.NaN()}
		if service == 0 {
			jobs[i].first, jobs[i].done, jobs[i].gone = jobs[i].entry, true, true
		}
	}
	for now := 0.0; ; now += step {
		open, there := false, 0
		for i := range jobs {
			j := &jobs[i]
			if j.gone {
				continue
			}
			if l := callers[i].leaves; l > 0 && float64(l) <= now {
				j.gone = true
				continue
			}
			if j.done && now >= j.end {
				j.gone = true
				continue
			}
			open = true
			if j.entry <= now {
				there++
			}
		}
		if !open {
			break
		}
		for i := range jobs {
			if j := &jobs[i]; !j.gone && !j.done && j.entry <= now {
				if j.left -= step * min(1, float64(s.Servers)/float64(max(there, 1))); j.left <= step/1e6 {
					j.done, j.first, j.end = true, now+step, now+step+float64(callers[i].tail)
				}
			}
		}
	}
	for i := range jobs {
		out[i] = jobs[i].first
	}
	return out
}

// bruteFIFO looks through all servers and all who wait at every moment at which something
// changes.
func bruteFIFO(s Station, callers []caller) []float64 {
	out := make([]float64, len(callers))
	type server struct{ first, end, leaves float64 }
	servers := make([]server, s.Servers)
	done := make([]bool, len(callers))
	for range callers {
		next, from := -1, math.Inf(1)
		for i, c := range callers {
			if delay, _ := s.Split(c.demand); !done[i] && float64(c.at+delay) < from {
				next, from = i, float64(c.at+delay)
			}
		}
		done[next] = true
		c := callers[next]
		_, service := s.Split(c.demand)
		if service == 0 {
			out[next] = from
			continue
		}
		free := func(k int) float64 { // as far as can be told at from
			if v := servers[k]; v.leaves <= from {
				return min(v.end, max(v.first, v.leaves))
			}
			return servers[k].end
		}
		idle := 0
		for k := range servers {
			if free(k) < free(idle) {
				idle = k
			}
		}
		leaves := float64(c.leaves)
		if leaves == 0 {
			leaves = math.Inf(1)
		}
		first := max(from, free(idle)) + float64(service)
		out[next], servers[idle] = first, server{first, first + float64(c.tail), leaves}
	}
	return out
}

// play has callers at a Live, as a pipeline would: each waits until what it was told and
// asks again. It returns when each was sure to be due, NaN for who left before, and how
// often it asked.
func play(t *testing.T, s Station, callers []caller) (dues []float64, asked []int) {
	t.Helper()
	dues, asked = make([]float64, len(callers)), make([]int, len(callers))
	synctest.Test(t, func(t *testing.T) {
		var d demands
		begin := time.Now()
		turns := make([]*Turn, len(callers))
		for _, c := range callers {
			d = append(d, c.demand)
		}
		l := NewLive(s, &d)
		var wg sync.WaitGroup
		for i, c := range callers {
			time.Sleep(time.Until(begin.Add(c.at)))
			turns[i] = l.Enter(time.Now(), 0, 0, c.tail, 1)
			wg.Go(func() {
				turn := turns[i]
				leaves := make(<-chan time.Time)
				if c.leaves > 0 {
					leaves = time.After(time.Until(begin.Add(c.leaves)))
				}
				dues[i] = math.NaN()
				for {
					asked[i]++
					at, again := turn.Due(time.Now())
					wait := again
					if again.IsZero() {
						wait = at
					}
					select {
					case <-leaves:
						turn.Leave(time.Now())
						return
					case <-turn.Sooner():
						continue
					case <-time.After(time.Until(wait)):
					}
					if !again.IsZero() {
						continue
					}
					dues[i] = float64(time.Since(begin))
					select {
					case <-leaves:
					case <-time.After(time.Until(at.Add(c.tail + c.late))):
					}
					turn.Leave(time.Now())
					turn.Leave(time.Now())
					return
				}
			})
		}
		wg.Wait()
		if n := l.InFlight(); n != 0 {
			t.Errorf("%d in flight at the end, want 0", n)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.advance(latest)
		if n := len(l.entries.list) + len(l.served.list) + len(l.tails.list) + len(l.waiting.list); n != 0 {
			t.Errorf("%d turns kept at the end, want 0", n)
		}
	})
	return dues, asked
}

const (
	ms = time.Millisecond
	µs = time.Microsecond
)

func randomCallers(r *rand.Rand, leaving bool) []caller {
	callers := make([]caller, 1+r.IntN(30))
	at := time.Duration(0)
	for i := range callers {
		if r.IntN(3) > 0 {
			at += time.Duration(r.IntN(60_000)) * µs
		}
		c := &callers[i]
		c.at, c.demand = at, time.Duration(r.IntN(100_000))*µs
		if r.IntN(3) == 0 {
			c.tail = time.Duration(r.IntN(200_000)) * µs
		}
		if r.IntN(4) == 0 {
			c.late = time.Duration(r.IntN(300)) * ms
		}
		if leaving && r.IntN(4) == 0 {
			c.leaves = at + time.Duration(r.IntN(300))*ms + ms/2
		}
	}
	return callers
}

func randomStation(r *rand.Rand, d Discipline) Station {
	s := Station{Discipline: d, Servers: 1 + r.IntN(4)}
	switch r.IntN(3) {
	case 0:
		s.Fixed = time.Duration(r.IntN(50)) * ms
	case 1:
		s.Share = float64(1+r.IntN(10)) / 10
	}
	return s
}

// keepsLaw compares a Live with a simulation that has nothing of its ways.
func keepsLaw(t *testing.T, s Station, callers []caller) (asked []int) {
	t.Helper()
	// What was settled 2.5 ms before is not moved by who comes or goes later.
	off := float64(soon) + 10
	var want []float64
	if s.Discipline == FIFO {
		want = bruteFIFO(s, callers)
	} else {
		const step = 20_000
		off += 2_000_000 + step*float64(len(callers)) // and each that was settled so moves the others
		want = brute(s, callers, step)
	}
	got, asked := play(t, s, callers)
	for i, c := range callers {
		if math.IsNaN(got[i]) != (c.leaves > 0 && !(want[i] < float64(c.leaves))) && math.Abs(want[i]-float64(c.leaves)) > off {
			t.Errorf("%+v: %d of %d, %+v, was due at %v, want %v", s, i, len(callers), c, time.Duration(got[i]), time.Duration(want[i]))
		}
		if math.Abs(got[i]-want[i]) > off {
			t.Errorf("%+v: %d of %d, %+v, was due at %v, want %v", s, i, len(callers), c, time.Duration(got[i]), time.Duration(want[i]))
		}
	}
	return asked
}

func TestLiveKeepsTheLaw(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		for _, d := range []Discipline{FIFO, PS} {
			s := randomStation(r, d)
			asked := keepsLaw(t, s, randomCallers(r, true))
			for _, n := range asked {
				if n > 40 {
					t.Errorf("seed %d, %+v: one asked %d times", seed, s, n)
				}
			}
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}

// A FIFO is exact: nobody who comes later moves what is due.
func TestFIFOIsExact(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		s := randomStation(r, FIFO)
		s.Fixed, s.Share = 0, 0
		callers := randomCallers(r, true)
		got, asked := play(t, s, callers)
		for i, want := range bruteFIFO(s, callers) {
			if !math.IsNaN(got[i]) && got[i] != want {
				t.Fatalf("seed %d, %+v: %d of %d, %+v, was due at %v, want %v", seed, s, i, len(callers), callers[i], time.Duration(got[i]), time.Duration(want))
			}
			if asked[i] != 1 {
				t.Fatalf("seed %d: asked %d times, want once", seed, asked[i])
			}
		}
	}
}

func FuzzLive(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 100, 0, 0, 0, 100, 0, 0})
	f.Add([]byte{1, 1, 0, 0, 100, 0, 0, 0, 100, 0, 50})
	f.Add([]byte{1, 2, 3, 10, 200, 30, 0, 1, 20, 90, 200, 0, 30, 0, 7})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 3 || len(data) > 3+4*30 {
			return
		}
		s := Station{Discipline: PS, Servers: 1 + int(data[1]%4), Fixed: time.Duration(data[2]%60) * ms}
		if data[0]%2 == 0 {
			s.Discipline = FIFO
		}
		var callers []caller
		at := time.Duration(0)
		for rest := data[3:]; len(rest) >= 4; rest = rest[4:] {
			at += time.Duration(rest[0]%64) * ms
			c := caller{at: at, demand: time.Duration(rest[1])*ms + time.Duration(len(rest)*len(rest))*37*time.Nanosecond, tail: time.Duration(rest[2]) * ms}
			if rest[3] > 0 {
				c.leaves = at + time.Duration(rest[3])*ms - ms/2
			}
			callers = append(callers, c)
		}
		keepsLaw(t, s, callers)
	})
}

// Whatever numbers it is given, a Live neither panics nor hangs, and ends empty.
func FuzzLiveHostile(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz0123456789"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 26 {
			return
		}
		number := func() int64 {
			var b [8]byte
			n := copy(b[:], data)
			data = data[n:]
			return int64(binary.LittleEndian.Uint64(b[:]))
		}
		s := Station{Discipline: []Discipline{FIFO, PS, ""}[data[0]%3], Servers: int(int8(data[1])), Fixed: time.Duration(number()), Share: math.Float64frombits(uint64(number()))}
		var d demands
		l := NewLive(s, &d)
		base := time.Unix(1e9, 0)
		var turns []*Turn
		for len(data) > 0 {
			d = demands{time.Duration(number())}
			turn := l.Enter(base.Add(time.Duration(number())), int(number()), number(), time.Duration(number()), math.Float64frombits(uint64(number())))
			turns = append(turns, turn)
			now := base.Add(time.Duration(number()))
			if at, again := turn.Due(now); at.IsZero() || !again.IsZero() && turn.Sooner() == nil {
				t.Fatalf("due at %v, to ask again at %v", at, again)
			}
			turns[int(uint64(number())%uint64(len(turns)))].Leave(base.Add(time.Duration(number())))
		}
		for _, turn := range turns {
			turn.Due(base)
			turn.Leave(base)
			turn.Due(base)
			turn.Leave(base)
		}
		if l.InFlight() != 0 {
			t.Fatalf("%d in flight", l.InFlight())
		}
	})
}

// inFlights is a Drawer that notes with how many it was asked.
type inFlights []int

func (d *inFlights) Draw(_, n int, _ int64) time.Duration {
	*d = append(*d, n)
	return 100 * ms
}

func TestEndless(t *testing.T) {
	var d inFlights
	l := NewLive(Station{}, &d)
	at := time.Now()
	one, two := l.Enter(at, 0, 0, 0, 2), l.Enter(at, 0, 0, 0, 1)
	one.Leave(at)
	one.Leave(at)
	l.Enter(at, 0, 0, 0, 1)
	if got, again := two.Due(at); !got.Equal(at.Add(100*ms)) || !again.IsZero() {
		t.Errorf("due after %v, settled %v", got.Sub(at), again.IsZero())
	}
	if got, _ := one.Due(at); !got.Equal(at.Add(50 * ms)) {
		t.Errorf("at twice the speed: due after %v, want 50ms", got.Sub(at))
	}
	if len(d) != 3 || d[0] != 1 || d[1] != 2 || d[2] != 2 {
		t.Errorf("in flight: %v, want 1 2 2", d)
	}
}

// Many who wait ask a handful of times each, also where the load is steady.
func TestPSAsksSeldom(t *testing.T) {
	for name, gap := range map[string]time.Duration{"all at once": 0, "as many come as go": 20 * ms, "too many": 10 * ms} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 1))
			callers := make([]caller, 500)
			for i := range callers {
				callers[i] = caller{at: time.Duration(i) * gap, demand: time.Duration(r.ExpFloat64() * float64(20*ms))}
			}
			_, asked := play(t, Station{Discipline: PS, Servers: 1}, callers)
			sum, most := 0, 0
			for _, n := range asked {
				sum, most = sum+n, max(most, n)
			}
			t.Logf("asked %.1f times, at most %d", float64(sum)/float64(len(asked)), most)
			if sum > 12*len(asked) {
				t.Errorf("asked %d times for %d answers", sum, len(asked))
			}
		})
	}
}

func BenchmarkLive(b *testing.B) {
	for _, d := range []Discipline{FIFO, PS} {
		b.Run(string(d), func(b *testing.B) {
			l := NewLive(Station{Discipline: d, Servers: 16}, constant(ms))
			at := time.Now()
			turns := make([]*Turn, 10_000)
			for i := range turns {
				turns[i] = l.Enter(at, 0, 0, 0, 1)
				turns[i].Due(at)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				at = at.Add(ms / 16)
				turns[i].Leave(at)
				turns[i] = l.Enter(at, 0, 0, 0, 1)
				turns[i].Due(at)
				i = (i + 1) % len(turns)
			}
		})
	}
}

type constant time.Duration

func (c constant) Draw(int, int, int64) time.Duration { return time.Duration(c) }

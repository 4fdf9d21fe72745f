package emulator

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
)

const ms = time.Millisecond

// parse reads a spec and resolves it as a link's owner does.
func parse(t testing.TB, spec string) shaping.Conditions {
	t.Helper()
	c, err := shaping.ParseSpec(spec)
	if err != nil {
		t.Fatal(err)
	}
	c, _ = c.Resolve()
	return c
}

// arrival is what became of a packet: its number is its payload.
type arrival = Due[int]

// send puts n packets of a size in, one every so often, and takes out what is due.
func send(e *Emulator[int], n, size int, every time.Duration) (all []arrival) {
	take := func(by time.Duration) {
		for d, ok := e.Take(by); ok; d, ok = e.Take(by) {
			all = append(all, d)
		}
	}
	for i := range n {
		now := time.Duration(i) * every
		take(now)
		e.Put(now, size, i%2 == 0, i)
	}
	take(math.MaxInt64)
	return all
}

// within holds a count of n chances of p against the binomial distribution: 5 σ.
func within(t *testing.T, what string, got, n int, p float64) {
	t.Helper()
	sigma := math.Sqrt(float64(n) * p * (1 - p))
	if math.Abs(float64(got)-float64(n)*p) > 5*sigma+1 {
		t.Errorf("%s: %d of %d, want %.0f ± %.0f", what, got, n, float64(n)*p, 5*sigma)
	}
}

func TestSameSeedSameDecisions(t *testing.T) {
	spec := "delay=20ms,jitter=5ms,loss=2%,burst=3,duplicate=1%,corrupt=1%,reorder=3%,rate=50mbit,limit=100"
	one := send(New[int](parse(t, spec), 7), 5000, 1000, 150*time.Microsecond)
	two := send(New[int](parse(t, spec), 7), 5000, 1000, 150*time.Microsecond)
	other := send(New[int](parse(t, spec), 8), 5000, 1000, 150*time.Microsecond)
	if !slices.Equal(one, two) {
		t.Error("the same seed and packets came to different decisions")
	}
	if slices.Equal(one, other) {
		t.Error("another seed came to the same decisions")
	}
	seeded := send(New[int](parse(t, spec+",seed=7"), 8), 5000, 1000, 150*time.Microsecond)
	if !slices.Equal(one, seeded) {
		t.Error("the conditions' own seed does not count")
	}
}

// To ask for more does not change what befalls which packet otherwise.
func TestKindsDoNotDisturbEachOther(t *testing.T) {
	lost := func(spec string) (all []int) {
		came := map[int]bool{}
		for _, a := range send(New[int](parse(t, spec), 3), 3000, 100, ms) {
			came[a.Payload] = true
		}
		for i := range 3000 {
			if !came[i] {
				all = append(all, i)
			}
		}
		return all
	}
	want := lost("loss=3%")
	if got := lost("loss=3%,delay=20ms,jitter=9ms,corrupt=10%,reorder=10%,rate=1gbit"); !slices.Equal(got, want) {
		t.Errorf("%d packets are lost beside other conditions, want the same %d", len(got), len(want))
	}
}

func TestShares(t *testing.T) {
	const n = 40_000
	all := send(New[int](parse(t, "delay=9ms,loss=4%,duplicate=3%,corrupt=5%,reorder=2%"), 1), n, 100, ms)
	var damaged, early, twice int
	seen := map[int]int{}
	for _, a := range all {
		if a.Damaged {
			damaged++
		}
		if at := time.Duration(a.Payload) * ms; a.At == at {
			early++
		} else if a.At != at+9*ms {
			t.Fatalf("packet %d took %v, want 9ms", a.Payload, a.At-at)
		}
		if seen[a.Payload]++; seen[a.Payload] == 2 {
			twice++
		}
	}
	within(t, "damaged", damaged, len(all), 0.05)
	within(t, "reordered", early, len(all), 0.02)
	// Of one that is doubled both get through only where the two draws say so.
	within(t, "twice", twice, n, 0.03*0.96*0.96)
	within(t, "lost", n-len(seen), n, 0.04*0.97)
}

// runs are the lengths of runs of losses.
func runs(all []arrival, n int) (lost int, lengths []int) {
	came := make([]bool, n)
	for _, a := range all {
		came[a.Payload] = true
	}
	run := 0
	for _, is := range append(came, true) {
		switch {
		case !is:
			run++
			lost++
		case run > 0:
			lengths = append(lengths, run)
			run = 0
		}
	}
	return lost, lengths
}

func mean(of []int) float64 {
	sum := 0
	for _, v := range of {
		sum += v
	}
	return float64(sum) / float64(max(len(of), 1))
}

func TestLossesWithMemory(t *testing.T) {
	const n = 200_000
	for spec, want := range map[string]struct{ share, run float64 }{
		"loss=2%,burst=5":        {0.02, 5},
		"loss=1%,burst=1.5":      {0.01, 1.5},
		"gemodel=1%/20%/100%/0%": {0.01 / 0.21, 5},
		"gemodel=5%":             {0.05, 1 / 0.95},
		// From a gap: alone with p14; in bursts with p13, each of 1/(p31+p32) in a row.
		"state=1%/20%/0%/100%/0%":      {0.01 * 5 / (1 + 0.01*5 + 0.2*0), 5},
		"state=0%/100%/0%/0%/2%":       {0.02 / 1.02, 1},
		"loss=3%":                      {0.03, 1 / 0.97},
		"loss=3%,loss_correlation=50%": {0.03, 1 / (1 - 0.5 - 0.5*0.03)},
	} {
		lost, lengths := runs(send(New[int](parse(t, spec), 11), n, 100, ms), n)
		if got := float64(lost) / n; math.Abs(got-want.share) > 0.12*want.share {
			t.Errorf("%s: %.4f lost, want %.4f", spec, got, want.share)
		}
		if got := mean(lengths); math.Abs(got-want.run) > 0.08*want.run {
			t.Errorf("%s: runs of %.2f, want %.2f", spec, got, want.run)
		}
	}
}

func TestMeanOfModel(t *testing.T) {
	c := parse(t, "gemodel=2%/30%/80%/1%")
	const n = 200_000
	lost, _ := runs(send(New[int](c, 5), n, 100, ms), n)
	if got, want := float64(lost)/n, c.GilbertElliott.Mean(); math.Abs(got-want) > 0.05*want {
		t.Errorf("lost %.4f, want %.4f, the model's mean", got, want)
	}
}

func TestRate(t *testing.T) {
	for spec, want := range map[string]time.Duration{
		"rate=12mbit":             ms,               // 1500 bytes
		"rate=12mbit,overhead=26": 1526 * ms / 1500, // 1526
		"rate=12mbit,overhead=18,cell=48,cell_overhead=5": 32 * 53 * ms / 1500,
		"rate=8bit": 1500 * time.Second,
	} {
		all := send(New[int](parse(t, spec+",limit=1000"), 1), 100, 1500, 0)
		for i, a := range all {
			if d := a.At - time.Duration(i+1)*want; d > time.Duration(i+1) || d < -time.Duration(i+1) {
				t.Fatalf("%s: packet %d left after %v, want %v", spec, i, a.At, time.Duration(i+1)*want)
			}
		}
	}
}

// A queue that is full drops what comes last.
func TestLimit(t *testing.T) {
	e := New[int](parse(t, "rate=12mbit,limit=10"), 1)
	all := send(e, 50, 1500, 0)
	if len(all) != 10 || all[9].Payload != 9 {
		t.Errorf("%d arrived, the last was %d; want the first 10", len(all), all[len(all)-1].Payload)
	}
	if c := e.Counters(); c.Dropped != 40 || c.Overlimits != 40 || c.SentPackets != 10 || c.SentBytes != 15000 || c.BacklogPackets != 0 {
		t.Errorf("Counters = %+v", c)
	}
}

// Jitter keeps the order and, unlike netem's with a rate, the mean, however dense the
// packets are; and its distribution is the one asked for.
func TestJitter(t *testing.T) {
	for _, shape := range []string{"", ",distribution=normal", ",distribution=pareto", ",distribution=paretonormal", ",distribution=experimental", ",delay_correlation=50%"} {
		spec := "delay=50ms,jitter=10ms" + shape
		c := parse(t, spec+",limit=1000000")
		all := send(New[int](c, 2), 200_000, 100, ms/2)
		delays := make([]float64, len(all))
		sum := 0.0
		for i, a := range all {
			if a.Payload != i {
				t.Fatalf("%s: packet %d arrived as the %d-th", spec, a.Payload, i)
			}
			delays[i] = (a.At - time.Duration(i)*ms/2).Seconds() * 1000
			sum += delays[i]
		}
		if got := sum / float64(len(all)); math.Abs(got-50) > 0.8 {
			t.Errorf("%s: a mean of %.2f ms, want 50", spec, got)
		}
		slices.Sort(delays)
		for _, p := range []float64{0.1, 0.5, 0.9} {
			want := 50 + 10*(2*p-1)
			if d := c.Distribution; d != nil {
				want = 50 + 10*float64(sorted(d)[int(p*float64(len(d.Table)))])/8192
			}
			if got := delays[int(p*float64(len(delays)))]; math.Abs(got-want) > 1.5 {
				t.Errorf("%s: %.0f%% of delays are below %.2f ms, want %.2f", spec, 100*p, got, want)
			}
		}
	}
}

// Packets stay in order whatever the conditions are, unless they are to be reordered.
func FuzzOrder(f *testing.F) {
	f.Add("delay=20ms,jitter=20ms", uint64(1), uint16(300))
	f.Add("delay=20ms,jitter=9ms,rate=3mbit,slot=5ms,slot_packets=3", uint64(9), uint16(10))
	f.Add("rate=1mbit,loss=3%,burst=3,duplicate=30%,slot_delay=3ms,slot_jitter=2ms", uint64(3), uint16(900))
	f.Fuzz(func(t *testing.T, spec string, seed uint64, gap uint16) {
		c, err := shaping.ParseSpec(spec)
		if err != nil || strings.Contains(spec, "reorder") {
			return
		}
		c, _ = c.Resolve()
		e := New[int](c, seed)
		const n = 300
		all := send(e, n, 1500, time.Duration(gap)*time.Microsecond)
		last, at := -1, time.Duration(0)
		for _, a := range all {
			if a.Payload < last || a.At < at || a.At < time.Duration(a.Payload)*time.Duration(gap)*time.Microsecond {
				t.Fatalf("%s: packet %d at %v after packet %d at %v", spec, a.Payload, a.At, last, at)
			}
			last, at = a.Payload, a.At
		}
		if c := e.Counters(); c.SentPackets != uint64(len(all)) || c.BacklogPackets != 0 || c.BacklogBytes != 0 {
			t.Fatalf("%s: Counters = %+v after %d packets", spec, c, len(all))
		}
	})
}

func TestGapReordersEachOfThatNumber(t *testing.T) {
	all := send(New[int](parse(t, "delay=50ms,reorder=100%,gap=5"), 1), 1000, 100, ms)
	early := 0
	for _, a := range all {
		if a.At == time.Duration(a.Payload)*ms {
			early++
			if a.Payload%5 != 4 {
				t.Fatalf("packet %d skipped the delay", a.Payload)
			}
		}
	}
	if early != 200 {
		t.Errorf("%d skipped the delay, want 200", early)
	}
}

func TestMarks(t *testing.T) {
	all := send(New[int](parse(t, "loss=20%,ecn=true"), 1), 10_000, 100, ms)
	marked := 0
	for _, a := range all {
		if a.Mark {
			marked++
			if a.Payload%2 == 1 {
				t.Fatal("a packet that does not support ECN was marked")
			}
		}
	}
	within(t, "marked", marked, 5000, 0.2)
	within(t, "arrived", len(all), 10_000, 0.9)
}

func TestSlots(t *testing.T) {
	all := send(New[int](parse(t, "slot=10ms,slot_packets=3"), 1), 20, 100, ms)
	count := map[time.Duration]int{}
	for _, a := range all {
		if a.At%(10*ms) != 0 {
			t.Fatalf("packet %d left at %v, between slots", a.Payload, a.At)
		}
		count[a.At]++
	}
	for at, n := range count {
		if n > 3 {
			t.Errorf("%d packets left at %v, want 3 at most", n, at)
		}
	}
	bytes := send(New[int](parse(t, "slot=10ms,slot_bytes=250"), 1), 20, 100, 0)
	if bytes[2].At != 10*ms || bytes[3].At != 20*ms {
		t.Errorf("250 bytes a slot: the third left at %v, the fourth at %v; want 10ms and 20ms", bytes[2].At, bytes[3].At)
	}
}

// Other conditions hold for what comes; what is held keeps its moment, and is not
// overtaken.
func TestChange(t *testing.T) {
	e := New[int](parse(t, "delay=100ms"), 1)
	e.Put(0, 100, false, 0)
	e.Change(10*ms, parse(t, "delay=5ms"), 1)
	e.Put(10*ms, 100, false, 1)
	e.Change(20*ms, shaping.Conditions{}, 1)
	e.Put(20*ms, 100, false, 2)
	if e.Idle() {
		t.Error("Idle with packets that are held")
	}
	var all []arrival
	for d, ok := e.Take(time.Second); ok; d, ok = e.Take(time.Second) {
		all = append(all, d)
	}
	for i, a := range all {
		if a.Payload != i || a.At != 100*ms {
			t.Errorf("the %d-th is packet %d at %v, want packet %d at 100ms", i, a.Payload, a.At, i)
		}
	}
	if len(all) != 3 || !e.Idle() {
		t.Errorf("%d arrived, idle %v; want 3 and idle", len(all), e.Idle())
	}
	e.Passed(2, 300)
	if c := e.Counters(); c.SentPackets != 5 || c.SentBytes != 600 {
		t.Errorf("Counters = %+v, want 5 packets, 600 bytes", c)
	}
}

// Opportunities as mahimahi's LinkQueue uses them.
func TestTrace(t *testing.T) {
	tr, err := shaping.ParseTrace("t", []byte("0\n2\n2\n5\n10\n"))
	if err != nil {
		t.Fatal(err)
	}
	full := 1500 + ethernetHeader // takes one whole
	small := 372 + ethernetHeader // a quarter: 376 with its header
	e := New[int](shaping.Conditions{Trace: tr}, 1)
	put := func(now time.Duration, size, n int) { e.Put(now, size, false, n) }
	put(0, full, 0)       // at 0
	put(0, full, 1)       // 2
	put(0, small, 2)      // 2, of the second there
	put(1*ms, small, 3)   // 2, of the same
	put(3*ms, small, 4)   // 5: the half that was left at 2 is gone
	put(3*ms, full, 5)    // three quarters at 5, the last at 10
	put(3*ms, small*4, 6) // the rest at 10 does: but its bytes are more than four quarters
	put(11*ms, full, 7)   // wraps around
	want := []time.Duration{0, 2 * ms, 2 * ms, 2 * ms, 5 * ms, 10 * ms, 10 * ms, 12 * ms}
	for i, at := range want {
		d, ok := e.Take(time.Second)
		if !ok || d.Payload != i || d.At != at && i != 6 {
			t.Errorf("packet %d at %v, want packet %d at %v", d.Payload, d.At, i, at)
		}
	}
	// The whole goes through at the trace's mean.
	e = New[int](shaping.Conditions{Trace: tr}, 1)
	all := send(e, 1000, full, 0)
	if got := all[999].At; got != 200*10*ms-8*ms+8*ms {
		t.Errorf("1000 packets took %v, want %v", got, 200*10*ms)
	}
}

func TestDelayTrace(t *testing.T) {
	d, err := shaping.ParseDelayTrace("d", []byte("0s 5ms\n100ms 50ms\n200ms 10ms\n"))
	if err != nil {
		t.Fatal(err)
	}
	all := send(New[int](shaping.Conditions{DelayTrace: d}, 1), 600, 100, ms)
	last := time.Duration(0)
	for _, a := range all {
		now := time.Duration(a.Payload) * ms
		want := max(now+d.At(now), last) // held up by those before the delay fell
		if a.At != want {
			t.Fatalf("packet %d took %v, want %v", a.Payload, a.At-now, want-now)
		}
		last = a.At
	}
}

func BenchmarkPutTake(b *testing.B) {
	for _, spec := range []string{"delay=40ms", "delay=40ms,jitter=5ms,distribution=normal,loss=1%,burst=3,rate=1gbit"} {
		b.Run(spec, func(b *testing.B) {
			e := New[int](parse(b, spec), 1)
			now := time.Duration(0)
			for b.Loop() {
				now += 12 * time.Microsecond
				e.Put(now, 1514, false, 0)
				e.Take(now)
			}
		})
	}
}

// After a restart a link is like a new one, whatever has passed before.
func TestRestart(t *testing.T) {
	spec := "delay=20ms,jitter=5ms,loss=2%,burst=3,duplicate=1%,corrupt=1%,reorder=3%,rate=50mbit,limit=100,slot=3ms/9ms"
	fresh := send(New[int](parse(t, spec), 7), 3000, 1000, 150*time.Microsecond)
	e := New[int](parse(t, spec), 7)
	from := time.Hour + 777*time.Microsecond
	for i := range 500 {
		e.Put(time.Duration(i)*ms, 100, false, i)
	}
	for _, ok := e.Take(math.MaxInt64); ok; {
		_, ok = e.Take(math.MaxInt64)
	}
	e.Restart(from)
	var again []arrival
	take := func(by time.Duration) {
		for d, ok := e.Take(by); ok; d, ok = e.Take(by) {
			d.At -= from
			again = append(again, d)
		}
	}
	for i := range 3000 {
		now := from + time.Duration(i)*150*time.Microsecond
		take(now)
		e.Put(now, 1000, i%2 == 0, i)
	}
	take(math.MaxInt64)
	if !slices.Equal(again, fresh) {
		t.Errorf("after a restart %d packets came, not as the %d of a new link", len(again), len(fresh))
	}
	if got := e.Counters(); got.SentPackets != uint64(len(again)) || got.BacklogPackets != 0 {
		t.Errorf("counters = %+v, want %d sent", got, len(again))
	}
}

func TestRestartKeepsWhatIsHeld(t *testing.T) {
	e := New[int](parse(t, "delay=20ms"), 7)
	e.Put(0, 100, false, 1)
	e.Restart(5 * ms)
	if got := e.Counters().BacklogPackets; got != 1 {
		t.Errorf("%d packets are held, want 1", got)
	}
	if d, ok := e.Take(20 * ms); !ok || d.Payload != 1 || d.At != 20*ms {
		t.Errorf("the packet that is held came as %+v, %v", d, ok)
	}
}

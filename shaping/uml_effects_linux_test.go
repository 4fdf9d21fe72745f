package shaping

import (
	"fmt"
	"math"
	"net"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/internal/umltest"
)

func TestGuestDelay(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	c := p.dial()
	bare := median(p.send(c, 200, 64, time.Millisecond))
	p.apply(Link{Up: Conditions{Delay: 50 * time.Millisecond}, Down: Conditions{Delay: 20 * time.Millisecond}})
	for _, tt := range []struct {
		name     string
		want     time.Duration
		from, to *net.UDPConn
	}{{"up", 50 * time.Millisecond, c.near, c.far}, {"down", 20 * time.Millisecond, c.far, c.near}} {
		var off time.Duration
		// A host that is busy just then delays its guest: what netem does shows in
		// one round of three.
		for range 3 {
			got := p.transmit(tt.from, tt.to, 300, 64, 2*time.Millisecond, nil)
			off = median(got) - bare - tt.want
			t.Logf("%s: %v off %v at the median; bare %v", tt.name, off, tt.want, bare)
			if len(got) != 300 {
				t.Errorf("%s: %d of 300 packets came", tt.name, len(got))
			}
			if off.Abs() <= time.Millisecond {
				break
			}
		}
		if off.Abs() > time.Millisecond {
			t.Errorf("%s: the median delay is off by %v, want %v within 1 ms", tt.name, off, tt.want)
		}
	}
}

func TestGuestLoss(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	c := p.dial()
	const n = 4000
	for _, tt := range []struct {
		spec string
		loss float64
	}{{"loss=5%", 0.05}, {"loss=0.5%", 0.005}} {
		a, err := Apply(t.Context(), p.target(), Link{Up: mustParse(t, tt.spec)})
		if err != nil {
			t.Fatal(err)
		}
		lost := n - len(p.send(c, n, 64, 0))
		counters, err := a.Counters()
		if err != nil || counters[Up].Dropped != uint64(lost) {
			t.Errorf("%s: %d lost, counters are %+v, %v: want them to agree", tt.spec, lost, counters, err)
		}
		// 4 standard deviations: 1 in 16,000 runs is outside.
		want, bound := n*tt.loss, 4*math.Sqrt(n*tt.loss*(1-tt.loss))
		t.Logf("%s: %d of %d lost, want %.0f ± %.0f", tt.spec, lost, n, want, bound)
		if math.Abs(float64(lost)-want) > bound {
			t.Errorf("%s: %d of %d lost, want %.0f ± %.0f", tt.spec, lost, n, want, bound)
		}
		if err := a.Restore(); err != nil {
			t.Error(err)
		}
	}
}

func TestGuestBursts(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	p.apply(Link{Up: mustParse(t, "loss=10%,burst=5")})
	const n = 8000
	var here [n]bool
	got := p.send(p.dial(), n, 64, 0)
	for _, a := range got {
		here[a.seq] = true
	}
	runs, lost := 0, 0
	for i := range here {
		if !here[i] {
			lost++
			if i == 0 || here[i-1] {
				runs++
			}
		}
	}
	mean := float64(lost) / float64(runs)
	t.Logf("%d of %d lost in %d runs of %.2f", lost, n, runs, mean)
	// Geometric lengths of mean 5 have σ √20; runs come at 1 in 50 packets.
	if bound := 4 * math.Sqrt(20/float64(runs)); math.Abs(mean-5) > bound {
		t.Errorf("losses come in runs of %.2f, want 5 ± %.2f", mean, bound)
	}
	if share := float64(lost) / n; share < 0.06 || share > 0.14 {
		t.Errorf("%.1f%% lost, want 10%%", 100*share)
	}
}

func TestGuestRate(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	a := p.apply(Link{Up: mustParse(t, "rate=4mbit,queue=10s")})
	c := p.dial()
	sometime(t, func() error {
		const n, size = 1000, 1400
		got := p.send(c, n, size, 0)
		if len(got) != n {
			counters, err := a.Counters()
			t.Fatalf("%d of %d packets came; counters %+v, %v", len(got), n, counters, err)
		}
		var at []time.Duration
		for _, a := range got {
			at = append(at, a.since)
		}
		rate, err := umltest.Rate(size+42, at) // IP and UDP take 28 bytes, Ethernet 14
		t.Logf("%.3f Mbit/s, %v", rate/1e6, err)
		if math.Abs(rate/4e6-1) > 0.03 {
			return fmt.Errorf("rate = %.3f Mbit/s, want 4 within 3%%", rate/1e6)
		}
		return nil
	})
}

// sometime gives what is measured in time three tries: the guest stands still for as
// long as its host has no time for it, which no fault of a link does once in a while.
func sometime(t *testing.T, measure func() error) {
	t.Helper()
	var err error
	for range 3 {
		if err = measure(); err == nil {
			return
		}
		t.Log(err)
	}
	t.Error(err)
}

// A table of 20 and 80 ms, 70:30, comes out as one; and after a change to uniform
// jitter nothing is left of it.
func TestGuestDistribution(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	var samples []time.Duration
	for i := range 1000 {
		samples = append(samples, 20*time.Millisecond)
		if i >= 700 {
			samples[i] = 80 * time.Millisecond
		}
	}
	d, err := FromSamples(samples)
	if err != nil {
		t.Fatal(err)
	}
	a := p.apply(Link{Up: Conditions{Delay: d.Delay, Jitter: d.Jitter, Distribution: d}})
	c := p.dial()
	got := p.send(c, 2000, 64, 500*time.Microsecond)
	late := 0
	for _, g := range got {
		switch {
		case g.took > 70*time.Millisecond:
			late++
		case g.took > 50*time.Millisecond: // the guest was busy
			t.Logf("between the two: %v", g.took)
		}
	}
	t.Logf("%d of %d at 80 ms", late, len(got))
	if bound := 4 * math.Sqrt(2000*.3*.7); math.Abs(float64(late)-600) > bound+20 {
		t.Errorf("%d of 2000 at 80 ms, want 600 ± %.0f", late, bound+20)
	}
	if err := a.Change(t.Context(), Link{Up: Conditions{Delay: 30 * time.Millisecond, Jitter: 10 * time.Millisecond}}); err != nil {
		t.Fatal(err)
	}
	got = p.send(c, 1000, 64, time.Millisecond)
	// A busy guest makes packets later, never earlier, so what is early decides. Uniform
	// over 20 to 40 ms has 10% below 22 and 20% below 24; the old table would have none
	// below 23.4 and 70% below 24.
	early, soon := 0, 0
	for _, g := range got {
		if g.took < 20*time.Millisecond {
			t.Errorf("%v is less than the least", g.took)
		}
		if g.took < 22*time.Millisecond {
			early++
		}
		if g.took < 24*time.Millisecond {
			soon++
		}
	}
	t.Logf("uniform: %d of %d below 22 ms, %d below 24", early, len(got), soon)
	if early < 20 || early > 140 || soon > 300 {
		t.Errorf("after the change %d of 1000 are below 22 ms and %d below 24, want uniform over 20 to 40 ms", early, soon)
	}
}

// An in-place change loses no packet that is held.
func TestGuestChangeKeepsPackets(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	link := Link{Up: Conditions{Delay: 200 * time.Millisecond}, Down: Conditions{Delay: 200 * time.Millisecond}}
	a := p.apply(link)
	c := p.dial()
	for _, d := range []Direction{Up, Down} {
		from, to := c.near, c.far
		if d == Down {
			from, to = to, from
		}
		got := p.transmit(from, to, 200, 64, time.Millisecond, func() {
			counters, err := a.Counters()
			if err != nil || counters[d].BacklogPackets == 0 {
				t.Errorf("counters = %+v, %v, want packets held", counters, err)
			}
			link.Of(d).Delay = 100 * time.Millisecond
			if err := a.Change(t.Context(), link); err != nil {
				t.Error(err)
			}
		})
		if len(got) != 200 {
			t.Errorf("%s: %d of 200 packets came, want all", d, len(got))
		}
	}
	if err := a.Restore(); err != nil {
		t.Error(err)
	}
	if err := a.Change(t.Context(), link); err == nil {
		t.Error("Change after Restore: want an error")
	}
}

func disorder(got []arrival) (n int) {
	last := -1
	for _, a := range got {
		if a.seq < last {
			n++
		}
		last = max(last, a.seq)
	}
	return n
}

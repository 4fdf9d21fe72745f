package main

import (
	"math"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	got := parse("delay=25ms,jitter=3ms,gemodel=1%/50%/100%/0%,rate=1500kbit,overhead=18,cell=48,cell_overhead=5,limit=18,seed=7")
	want := conditions{delay: 25 * time.Millisecond, rate: 1.5e6, loss: 0.01 / 0.51, events: 0.01 / 0.51 / 2, overhead: 18, cell: 48, header: 5}
	if math.Abs(got.events-want.events) > 1e-12 {
		t.Errorf("events = %v, want %v", got.events, want.events)
	}
	if got.events = want.events; got != want {
		t.Errorf("parse = %+v, want %+v", got, want)
	}
}

func TestGoodput(t *testing.T) {
	const rtt = 20 * time.Millisecond
	for _, c := range []struct {
		spec, control, by string
		want              float64 // Mbit/s
	}{
		{"delay=10ms", "reno", "", 0},
		{"rate=10mbit", "reno", "rate", 10.0 * 1448 / 1514},
		{"rate=10mbit,cell=48,cell_overhead=5", "reno", "rate", 10.0 * 1448 / (32 * 53)},
		{"loss=1%", "reno", "Mathis", 1448 * 8 / 0.02 * math.Sqrt(150) / 1e6},
		{"loss=1%,rate=1mbit", "reno", "rate", 1448.0 / 1514},
		{"loss=1%", "cubic", "Mathis", 1448 * 8 / 0.02 * math.Sqrt(150) / 1e6},
		{"loss=0.0001%", "cubic", "CUBIC", 1448 * 8 / 0.02 * 1.054 * math.Pow(20000, 0.75) / 1e6},
		{"loss=1%", "bbr", "", 0},
	} {
		p := parse(c.spec)
		got, by := p.goodput(rtt, c.control)
		if by != c.by || math.Abs(got/1e6-c.want) > 1e-6*c.want {
			t.Errorf("%s by %s: %v Mbit/s by %q, want %v by %q", c.spec, c.control, got/1e6, by, c.want, c.by)
		}
	}
}

func TestBound(t *testing.T) {
	f := &found{Objects: 12, Bytes: 144_800}
	if got, want := bound(f, 50*time.Millisecond), 150*time.Millisecond; got != want {
		t.Errorf("bound by round trips = %v, want %v", got, want)
	}
	f.down = parse("rate=1mbit")
	if got, want := bound(f, 0), 1211200*time.Microsecond; got.Round(time.Microsecond) != want {
		t.Errorf("bound by bytes = %v, want %v", got, want)
	}
}

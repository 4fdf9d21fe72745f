package width

import (
	"testing"
	"time"
)

// stretch is how a machine is for some samples of 100 ms.
type stretch struct {
	samples    int
	idle, used float64 // processors
}

func (s stretch) sample() sample {
	processors := func(n float64) time.Duration { return time.Duration(n * float64(often)) }
	return sample{took: often, idle: processors(s.idle), used: processors(s.used)}
}

// What is right for a width: each case starts wide and at rest.
func TestPolicy(t *testing.T) {
	full2 := stretch{10, 0.3, 0.9} // pass-through at 16 connections, as measured
	for name, c := range map[string]struct {
		full int
		past []stretch
		want int
	}{
		"nothing to do":                        {2, []stretch{{50, 2, 0}}, 0},
		"nothing to do on a full machine":      {2, []stretch{{50, 0, 0.01}}, 0},
		"little to do on a full machine":       {2, []stretch{{50, 0, 0.2}}, 0},
		"one connection":                       {2, []stretch{{50, 0.76, 0.65}}, 0},
		"a full machine":                       {2, []stretch{full2}, 1},
		"a full machine for too short a time":  {2, []stretch{{3, 0.3, 0.9}}, 0},
		"both processors of use":               {2, []stretch{{50, 0.1, 1.5}}, 0},
		"one processor and some":               {2, []stretch{{50, 0, 1.1}}, 1},
		"one processor is all":                 {1, []stretch{{50, 0, 0.9}}, 0},
		"many, most of them others'":           {16, []stretch{{50, 0.2, 2.4}}, 3},
		"many, all of use":                     {16, []stretch{{50, 0.2, 15.5}}, 0},
		"narrow, as idle as before":            {2, []stretch{full2, {50, 0.6, 0.7}}, 1},
		"narrow, a processor for one sample":   {2, []stretch{full2, {10, 0.4, 0.9}, {1, 1, 0.9}, {1, 0.4, 0.9}}, 1},
		"narrow, and a processor is there":     {2, []stretch{full2, {3, 1, 0.9}}, 0},
		"narrow, and it fills its width":       {2, []stretch{full2, {4, 0.6, 0.99}}, 0},
		"narrow and filled, others need it":    {2, []stretch{full2, {50, 0.1, 1}}, 1},
		"narrow, and nothing to do for a time": {2, []stretch{full2, {50, 0, 0}}, 1},
		"narrow, and nothing to do any more":   {2, []stretch{full2, {100, 0, 0}}, 0},
		"narrow, and one connection's load":    {2, []stretch{full2, {50, 0.8, 0.55}}, 0},
		"full once more":                       {2, []stretch{full2, {10, 2, 0}, full2}, 1},
		"full once more, soon after a mistake": {2, []stretch{full2, {4, 0.8, 0.9}, {8, 0.1, 0.9}}, 0},
		"full once more, after a mistake":      {2, []stretch{full2, {4, 0.8, 0.9}, {12, 0.1, 0.9}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var p policy
			got := 0
			for _, s := range c.past {
				for range s.samples {
					got = p.next(c.full, s.sample())
				}
			}
			if got != c.want {
				t.Errorf("width = %d, want %d", got, c.want)
			}
		})
	}
}

// A load that leaves a processor idle when narrow, and none when wide, must not make
// it go to and fro: each change stops the program.
func TestPolicyBacksOff(t *testing.T) {
	var p policy
	changes, before := 0, 0
	for range 10 * 60 * 5 { // five minutes
		s := stretch{idle: 0.2, used: 1.1}
		if before != 0 {
			s = stretch{idle: 0.9, used: 0.9}
		}
		if after := p.next(2, s.sample()); after != before {
			changes++
			before = after
		}
	}
	if changes > 20 {
		t.Errorf("%d changes in five minutes, want 20 at most", changes)
	}
}

// Loads that come and go are no mistakes: each is narrow within a second.
func TestPolicyFollowsLoads(t *testing.T) {
	var p policy
	for n := range 20 {
		for _, s := range []stretch{{10, 0.3, 0.9}, {5, 0.8, 0.55}, {60, 0.8, 0.55}} {
			for range s.samples {
				p.next(2, s.sample())
			}
			if want := map[int]int{10: 1}[s.samples]; p.width != want {
				t.Fatalf("load %d: width after %v = %d, want %d", n, s, p.width, want)
			}
		}
	}
}

// Time that stands still, or runs back, says nothing.
func TestPolicyWithoutTime(t *testing.T) {
	var p policy
	for range 10 {
		if got := p.next(2, sample{used: time.Second}); got != 0 {
			t.Fatalf("width = %d, want it wide", got)
		}
	}
}

package width

import (
	"testing"
	"testing/synctest"
	"time"
)

// turns are how a machine with one processor for understudy is for some samples of 100 ms:
// switches an exchange, without batches and with them.
type turns struct {
	samples        int
	done           uint64 // in each sample
	alone, batched float64
}

// When there are batches: each case starts without.
func TestBatching(t *testing.T) {
	waking := turns{20, 2000, 2.4, 0.25} // pass-through at 64 connections, as measured
	for name, c := range map[string]struct {
		past []turns
		want int // samples of the last stretch that were made with batches
	}{
		"nothing to do":              {[]turns{{20, 0, 0, 0}}, 0},
		"hardly anything to do":      {[]turns{{20, 99, 50, 50}}, 0},
		"others find work":           {[]turns{{20, 3000, 0.3, 0.3}}, 0},
		"each write wakes another":   {[]turns{waking}, 17},
		"some writes wake another":   {[]turns{{20, 4500, 0.6, 0.4}}, 17},
		"only for a time":            {[]turns{waking, {200, 3000, 0.3, 0.3}}, 85}, // until it looks again
		"without a look at times":    {[]turns{{500, 2000, 2.4, 0.25}}, 485},
		"it gains nothing":           {[]turns{{10, 1800, 2.7, 2.4}}, 3},
		"it gains nothing, again":    {[]turns{{100, 1800, 2.7, 2.4}}, 12},
		"it gains nothing, for long": {[]turns{{3000, 1800, 2.7, 2.4}}, 30},
		"again after a rest":         {[]turns{waking, {5, 0, 0, 0}, {3, 2000, 2.4, 0.25}}, 2}, // the first sample tells of it
		"again, and no gain":         {[]turns{waking, {5, 0, 0, 0}, {20, 2000, 2.7, 2.4}}, 6},
		"a gain after a rest":        {[]turns{{100, 1800, 2.7, 2.4}, {1, 0, 0, 0}, waking}, 17},
	} {
		t.Run(name, func(t *testing.T) {
			var b batching
			got := 0
			for _, s := range c.past {
				got = 0
				for range s.samples {
					each := s.alone
					if b.on {
						each = s.batched
						got++
					}
					b.next(sample{took: often, done: s.done, switches: uint64(each * float64(s.done))})
				}
			}
			if got != c.want {
				t.Errorf("%d samples of the last stretch with batches, want %d", got, c.want)
			}
		})
	}
}

// A keeper batches on one processor alone, and leaves nothing on.
func TestKeeperBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.rate, m.alone, m.batched = 20_000, 2.4, 0.25
		k := keep(t, m)
		batches := func(want bool, when string) {
			t.Helper()
			if m.batches() != want {
				t.Errorf("batches %s: %v, want %v", when, !want, want)
			}
		}
		m.pass(2*time.Second, 1.2, 0.5)
		batches(false, "with all processors")
		m.pass(time.Second, 0.25, 0.875)
		batches(true, "on a full machine")
		if got := k.told(); len(got) != 2 || !got[1].Batch || got[1].Width != 1 || got[1].Switches != 2.4 {
			t.Errorf("told %+v, want one processor and then batches for 2.4 switches", got)
		}
		m.pass(time.Second, 1.5, 0.5)
		batches(false, "with processors to spare")
		if got := k.told(); len(got) != 3 || got[2].Batch || got[2].Narrow {
			t.Errorf("told %+v, want all processors and no batches at last", got)
		}
		m.pass(3*time.Second, 0.25, 0.875)
		batches(true, "on a full machine again")
		if err := k.stop(); err != nil {
			t.Error(err)
		}
		batches(false, "at the end")
	})
}

// Where there is one processor anyway it batches as well, and looks seldom without work.
func TestKeeperBatchesOnOneProcessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.runtime, m.width = 1, 1
		m.rate, m.alone, m.batched = 20_000, 2.4, 0.25
		k := keep(t, m)
		m.pass(5*time.Second, 1, 0)
		if got := m.looks(); got != 6 {
			t.Errorf("%d looks in five seconds without work, want 6", got)
		}
		k.Wake()
		m.pass(2*time.Second, 0.25, 0.875)
		if got := k.told(); len(got) == 0 || got[0].Width != 1 || got[0].Narrow || !got[0].Batch || !m.batches() {
			t.Errorf("told %+v, batches %v; want them first, with one processor", got, m.batches())
		}
		if err := k.stop(); err != nil {
			t.Error(err)
		}
		if m.batches() {
			t.Error("batches are left on")
		}
	})
}

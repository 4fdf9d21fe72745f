package width

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A load that a nudge tells of is narrow when three short looks have seen it, however
// long the rest before was and wherever between two looks it begins; without one it
// takes more than a second.
func TestWokenIsNarrowSoon(t *testing.T) {
	for _, before := range []time.Duration{0, 300 * time.Millisecond, 7*time.Second + 930*time.Millisecond, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			m := newModel()
			k := keep(t, m)
			m.pass(before, 2, 0)
			k.Wake()
			m.pass(3*soon-time.Millisecond, 0.25, 0.875)
			if got := m.full(); got != 2 {
				t.Errorf("width before the third look = %d, want 2", got)
			}
			m.pass(2*time.Millisecond, 0.25, 0.875)
			if got := m.full(); got != 1 {
				t.Errorf("width %v after a nudge on a full machine = %d, want 1", 3*soon, got)
			}
			if want := (Change{Width: 1, Narrow: true, Idle: 0.25, Used: 0.875}); len(k.told()) != 1 || k.told()[0] != want {
				t.Errorf("told %v, want %v", k.told(), want)
			}
			_ = k.stop()
		})
	}
}

// A load that begins again is narrow, and written in batches, at the first look that sees
// it all: after minutes, too, but not after hours, and not where it was no load for one
// processor in the end.
func TestWokenAgain(t *testing.T) {
	for _, test := range []struct {
		name  string
		rest  time.Duration
		last  float64 // idle in the first load's last second
		again float64 // idle in the second
		looks int     // in which it is narrow again; 0 for never
	}{
		{"soon", 2 * time.Second, 0.25, 0.25, 1},
		{"after minutes", 4 * time.Minute, 0.25, 0.25, 1},
		{"after hours", 3 * time.Hour, 0.25, 0.25, 3},
		{"a smaller load", 2 * time.Second, 0.25, 1, 0},
		{"of one that was wide at last", 2 * time.Second, 1.2, 0.25, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newModel()
			m.alone, m.batched = 2.4, 0.25
			m.works(20_000)
			k := keep(t, m)
			k.Wake()
			m.pass(5*time.Second+500*time.Millisecond, 0.25, 0.875)
			m.pass(time.Second, test.last, 0.875)
			m.works(0)
			m.pass(test.rest, 2, 0)
			m.works(20_000)
			k.Wake()
			for look := 1; look <= 3; look++ {
				m.pass(soon+time.Millisecond, test.again, 0.875)
				if got, want := m.full() == 1, test.looks > 0 && look >= test.looks; got != want {
					t.Errorf("%s: narrow after %d looks: %v, want %v", test.name, look, got, want)
				}
			}
			m.pass(often, test.again, 0.875)
			if got, want := m.batches(), test.looks == 1; got != want {
				t.Errorf("%s: batches at once: %v, want %v", test.name, got, want)
			}
			_ = k.stop()
		})
	}
}

// What begins slowly is narrow 250 ms after the nudge.
func TestWokenBeforeTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := keep(t, m)
		m.pass(5*time.Second, 2, 0)
		k.Wake()
		m.pass(2*soon, 1, 0.25)
		m.pass(3*soon+time.Millisecond, 0, 0.875)
		if got := m.full(); got != 1 {
			t.Errorf("width 250 ms after a nudge = %d, want 1", got)
		}
		_ = k.stop()
	})
}

// A load that does not fill the machine is not narrowed, and not looked at closely for
// long.
func TestWokenForASmallLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := keep(t, m)
		m.pass(5*time.Second, 2, 0)
		before := m.looks()
		k.Wake()
		for range 1000 { // as its requests do
			m.pass(10*time.Millisecond, 0.75, 0.6)
			k.Wake()
		}
		if got, want := m.looks()-before, 1+6+97; got != want {
			t.Errorf("%d looks in ten seconds, want %d: at once, 6 in %v, then each %v", got, want, young, often)
		}
		if got := k.told(); len(got) > 0 {
			t.Errorf("told %v, want nothing", got)
		}
		_ = k.stop()
	})
}

// A narrow load is looked at as seldom as ever: nothing widens sooner for a nudge.
func TestWokenWidensAsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := keep(t, m)
		k.Wake()
		m.pass(3*soon+time.Millisecond, 0.25, 0.875)
		for range window {
			if got := m.full(); got != 1 {
				t.Errorf("width = %d, want 1 until %d looks of %v", got, window, often)
			}
			k.Wake()
			m.pass(often, 2, 0.5)
		}
		if got := m.full(); got != 2 {
			t.Errorf("width with processors to spare = %d, want 2", got)
		}
		_ = k.stop()
	})
}

// A nudge without work costs two looks, and then it rests as before.
func TestWokenForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := keep(t, m)
		m.pass(5*time.Second, 2, 0)
		before := m.looks()
		k.Wake()
		m.pass(soon, 2, 0.02)
		if got := m.looks() - before; got != 2 {
			t.Errorf("%d looks, want 2", got)
		}
		before = m.looks()
		m.pass(10*time.Second, 2, 0)
		if got := m.looks() - before; got != 10 {
			t.Errorf("%d looks in ten seconds at rest, want 10", got)
		}
		_ = k.stop()
	})
}

// Nudges that come to nothing have four heeded, then one a second: three looks.
func TestWokenWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := keep(t, m)
		m.pass(5*time.Second, 2, 0)
		storm := func(d time.Duration) int {
			before := m.looks()
			for range d / (10 * time.Millisecond) {
				k.Wake()
				m.pass(10*time.Millisecond, 0, 0.01)
			}
			return m.looks() - before
		}
		if got := storm(time.Second); got > 2*nudgeBurst {
			t.Errorf("%d looks in the first second, want %d at most", got, 2*nudgeBurst)
		}
		if got := storm(time.Minute); got > 3*60 {
			t.Errorf("%d looks in a minute, want 180 at most", got)
		}
		// The load that comes then is found as soon as one without a nudge.
		m.pass(2*time.Second, 0.25, 0.875)
		if got := m.full(); got != 1 {
			t.Errorf("width on a full machine = %d, want 1", got)
		}
		m.pass(10*time.Second, 2, 0)
		before := m.looks()
		for range nudgeBurst { // after a pause they count anew
			k.Wake()
			m.pass(soon+time.Millisecond, 2, 0)
		}
		if got := m.looks() - before; got != 2*nudgeBurst {
			t.Errorf("%d looks for %d nudges after a pause, want two each", got, nudgeBurst)
		}
		_ = k.stop()
	})
}

// A nudge where nobody looks does nothing, and nobody has to take it.
func TestWakeWithoutKeeper(t *testing.T) {
	var none *Keeper
	none.Wake()
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.runtime, m.width = 1, 1
		idle := newKeeper(m, Work{}, nil)
		idle.Wake()
		if len(idle.nudges) > 0 {
			t.Error("a nudge waits for a keeper that does not run")
		}
		k := keep(t, m)
		for range 10 {
			k.Wake()
			m.pass(time.Second, 0, 0.9)
		}
		if got := m.looks(); got != 11 {
			t.Errorf("%d looks in ten seconds with one processor, want 11", got)
		}
		_ = k.stop()
		m = newModel()
		k = keep(t, m)
		_ = k.stop()
		k.Wake()
		if len(k.nudges) > 0 {
			t.Error("a nudge waits for a keeper that has ended")
		}
	})
}

// Many nudges at once are one.
func TestWakeFromMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := keep(t, m)
		before := m.looks()
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 100 {
					k.Wake()
				}
			})
		}
		all.Wait()
		m.pass(soon-time.Millisecond, 0.75, 0.6)
		if got := m.looks() - before; got != 1 {
			t.Errorf("%d looks at once, want 1", got)
		}
		_ = k.stop()
	})
}

// BenchmarkWake is what each exchange pays while there is work.
func BenchmarkWake(b *testing.B) {
	k := newKeeper(newModel(), Work{}, nil)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			k.Wake()
		}
	})
}

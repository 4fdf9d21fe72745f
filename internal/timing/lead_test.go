package timing

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// However long it takes to make ready what is due, it is not done before its time.
func TestLeadIsNeverEarly(t *testing.T) {
	c := newTestClock(t, 1)
	l := newLead(c)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(3, uint64(i)))
			for range 150 {
				at := time.Now().Add(time.Duration(r.ExpFloat64() * float64(2*ms)))
				if err := l.SleepUntil(t.Context(), nil, at); err != nil {
					t.Error(err)
				}
				woke := time.Now()
				if early := at.Sub(woke); early > longestWork+earliest {
					t.Errorf("SleepUntil ended %v early, want at most %v", early, time.Duration(longestWork+earliest))
				}
				for until := woke.Add(time.Duration(r.IntN(longestWork))); time.Now().Before(until); {
				}
				if met := l.Meet(woke, at); at.Sub(met) > earliest || time.Now().Before(met) {
					t.Errorf("Meet = %v before the moment, want at most %v", at.Sub(met), time.Duration(earliest))
				}
			}
		})
	}
	all.Wait()
}

// What the work takes is learnt, and the next wait ends so much earlier; what takes
// far too long does not count as work.
func TestLeadLearns(t *testing.T) {
	c := newTestClock(t, 1)
	c.opened.Do(c.open)
	c.base = c.base.Add(-time.Second) // it has earned what may be spun at once
	l := newLead(c)
	if got := l.early(); got != 0 {
		t.Errorf("before anything was learnt a wait ends %v early, want 0s", got)
	}
	for range 1000 {
		l.took.learn(30_000)
	}
	if got := l.early(); got < 29_000 || got > 31_000 {
		t.Errorf("after works of 30µs a wait ends %v early, want about 30µs", got)
	}
	for range 1000 {
		l.took.learn(int64(time.Hour))
	}
	if got := l.early(); got != longestWork {
		t.Errorf("after works of an hour a wait ends %v early, want %v", got, time.Duration(longestWork))
	}
	c.credit.spend(c.now(), int64(time.Hour)/spinShare)
	if got := l.early(); got != 0 {
		t.Errorf("with nothing left to spin a wait ends %v early, want 0s", got)
	}
}

// Fake time does not pass by spinning.
func TestLeadInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLead(NewClock(1))
		l.took.learn(30_000)
		at := time.Now().Add(ms)
		if err := l.SleepUntil(t.Context(), nil, at); err != nil || !time.Now().Equal(at) {
			t.Errorf("SleepUntil ended %v early, %v, want it exact", time.Until(at), err)
		}
		if met := l.Meet(time.Now(), at.Add(ms)); !met.Equal(at) {
			t.Errorf("Meet took %v, want it to return at once", met.Sub(at))
		}
	})
}

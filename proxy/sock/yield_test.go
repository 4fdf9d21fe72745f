package sock

import "testing"

// On an idle connection each yield is in vain: one read in restFor tries again.
func TestYieldRestsWhereItIsInVain(t *testing.T) {
	var y yield
	yielded := 0
	for range 10 * (restFor + 1) {
		if y.worthwhile() {
			yielded++
		}
		y.learn(true)
	}
	if yielded != 10 {
		t.Errorf("yielded %d times in %d reads that all had to wait, want 10", yielded, 10*(restFor+1))
	}
}

// On a busy one it goes on through a few that were.
func TestYieldForgives(t *testing.T) {
	var y yield
	for i := range 1000 {
		if !y.worthwhile() {
			t.Fatalf("rests at read %d though all but one in ten found something", i)
		}
		y.learn(i%10 == 9)
	}
	for range maxTrust + 1 {
		y.worthwhile()
		y.learn(true)
	}
	if y.worthwhile() {
		t.Error("goes on yielding when nothing is found any more")
	}
}

package app

import (
	"testing"
	"time"
)

// To a configuration 0 is no bound; to the transport it is its default.
func TestNoBound(t *testing.T) {
	for _, d := range []time.Duration{time.Millisecond, time.Hour} {
		if got := bound(d); got != d {
			t.Errorf("bound(%v) = %v, want the same", d, got)
		}
	}
	if got := bound(0); got < 24*365*time.Hour {
		t.Errorf("bound(0) = %v, want as good as none", got)
	}
	if now := time.Now(); !now.Add(bound(0)).After(now) || !now.Add(-bound(0)).Before(now) {
		t.Error("bound(0) cannot be reckoned with")
	}
}

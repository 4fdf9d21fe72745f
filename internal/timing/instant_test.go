package timing

import (
	"testing"
	"time"
)

func TestInstant(t *testing.T) {
	before := time.Now()
	at := Instant()
	after := time.Now()
	if at.Before(before) || at.After(after) {
		t.Errorf("Instant() is %v after one time.Now() and %v before the next, want it in between", at.Sub(before), after.Sub(at))
	}
}

func BenchmarkInstant(b *testing.B) {
	b.Run("Instant", func(b *testing.B) {
		for b.Loop() {
			Instant()
		}
	})
	b.Run("Now", func(b *testing.B) {
		for b.Loop() {
			time.Now()
		}
	})
	b.Run("Since", func(b *testing.B) {
		for b.Loop() {
			time.Since(origin)
		}
	})
}

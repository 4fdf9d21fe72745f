package timing

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleepUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		// Work between two waits does not move the second: deadlines are absolute.
		for i := range 5 {
			time.Sleep(3 * ms)
			if err := SleepUntil(t.Context(), nil, start.Add(time.Duration(i+1)*10*ms)); err != nil {
				t.Fatal(err)
			}
		}
		if got := time.Since(start); got != 50*ms {
			t.Errorf("five waits = %s, want 50ms", got)
		}
	})
}

func TestSleepUntilThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := SleepUntil(t.Context(), nil, start.Add(-time.Second)); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := SleepUntil(ctx, nil, start); !errors.Is(err, context.Canceled) {
			t.Errorf("SleepUntil(ended context) = %v, want %v", err, context.Canceled)
		}
		gone := make(chan struct{})
		close(gone)
		if err := SleepUntil(t.Context(), gone, start); err != ErrGone {
			t.Errorf("SleepUntil(gone client) = %v, want %v", err, ErrGone)
		}
		if got := time.Since(start); got != 0 {
			t.Errorf("waits for the past took %s, want 0s", got)
		}
	})
}

func TestSleepUntilIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 20*ms)
		defer cancel()
		if err := SleepUntil(ctx, nil, start.Add(time.Hour)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("SleepUntil(context of 20ms) = %v, want %v", err, context.DeadlineExceeded)
		}
		gone := make(chan struct{})
		time.AfterFunc(10*ms, func() { close(gone) })
		if err := SleepUntil(t.Context(), gone, start.Add(time.Hour)); err != ErrGone {
			t.Errorf("SleepUntil(client leaves) = %v, want %v", err, ErrGone)
		}
		if got := time.Since(start); got != 30*ms {
			t.Errorf("both waits = %s, want 30ms", got)
		}
	})
}

func BenchmarkSleepUntilPast(b *testing.B) {
	b.ReportAllocs()
	ctx, gone, at := b.Context(), make(chan struct{}), time.Now()
	for b.Loop() {
		SleepUntil(ctx, gone, at)
	}
}

func BenchmarkSleepUntilMicrosecond(b *testing.B) {
	b.ReportAllocs()
	ctx, gone := b.Context(), make(chan struct{})
	for b.Loop() {
		SleepUntil(ctx, gone, time.Now().Add(time.Microsecond))
	}
}

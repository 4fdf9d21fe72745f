package timing

import (
	"context"
	"errors"
	"time"
)

// ErrGone is returned by SleepUntil when the one waited for has left.
var ErrGone = errors.New("the client has left")

// standard is the clock of all parts. Its goroutines end when nobody waits; it
// is never closed.
var standard = NewClock(0)

// SleepUntil waits until at, an absolute moment: chains of waits do not add up
// their lateness. It returns nil then, ctx's error when ctx ends first, ErrGone
// when gone is closed first; gone may be nil. Where at is past it does not wait,
// but still says whether ctx has ended or the client has left.
//
// It returns at most 20 µs before at, and as little after it as the machine
// allows. Under testing/synctest it waits on the bubble's clock, exactly.
func SleepUntil(ctx context.Context, gone <-chan struct{}, at time.Time) error {
	return standard.SleepUntil(ctx, gone, at)
}

// Stats returns the figures of the clock that SleepUntil uses.
func Stats() ClockStats { return standard.Stats() }

package timing

import (
	"context"
	"errors"
	"time"
)

// ErrGone is returned by SleepUntil when the one waited for has left.
var ErrGone = errors.New("the client has left")

// SleepUntil waits until at, an absolute moment: chains of waits do not add up
// their lateness. It returns nil then, ctx's error when ctx ends first, ErrGone
// when gone is closed first; gone may be nil. Where at is past it does not wait,
// but still says whether ctx has ended or the client has left.
//
// It starts one timer a wait: a shared pool of timers would carry them from
// one synctest bubble into another, which the runtime forbids.
func SleepUntil(ctx context.Context, gone <-chan struct{}, at time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	wait := time.Until(at)
	if wait <= 0 {
		select {
		case <-gone:
			return ErrGone
		default:
			return nil
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-gone:
		return ErrGone
	case <-ctx.Done():
		return ctx.Err()
	}
}

package timing

import "time"

// Rearm starts t again, or makes a timer where t is nil, so that call is called in its own
// goroutine after d; it returns the timer. t must have fired or been stopped, and have been
// made by Rearm with the same call.
func Rearm(t *time.Timer, d time.Duration, call func()) *time.Timer {
	if t == nil {
		return time.AfterFunc(d, call)
	}
	t.Reset(d)
	return t
}

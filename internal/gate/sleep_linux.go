package gate

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleepUntil waits in the kernel: a Go timer rides on the netpoller's
// millisecond, which would send the requests of several connections in bursts.
func sleepUntil(at time.Time) {
	for d := time.Until(at); d > 0; d = time.Until(at) {
		ts := unix.NsecToTimespec(int64(d))
		// Interrupted (the runtime's own signals do that), it goes on.
		_ = unix.Nanosleep(&ts, nil)
	}
}

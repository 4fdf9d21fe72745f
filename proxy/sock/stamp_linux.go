//go:build linux

package sock

import (
	"syscall"
	"time"
)

// oldest is how long bytes may plausibly have waited to be read. What says that
// they waited longer is a clock that was set meanwhile.
const oldest = 10 * time.Second

// Stamp has the kernel note from now on when bytes come in, for Arrived. It may
// be called often, and from any goroutine.
func (c *Conn) Stamp() {
	if c.notes.stamped.Load() {
		return
	}
	_ = c.in.raw.Control(func(fd uintptr) { // fails on a closed connection, which tells otherwise
		if syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1) == nil {
			c.notes.stamped.Store(true)
		}
	})
}

// Arrived returns when the bytes of the last read came in, where the kernel
// noted it: a little after the first of them at the latest. Otherwise, and for
// whatever is no plausible time, it returns now.
func (c *Conn) Arrived() time.Time {
	now := time.Now()
	if wall := c.notes.at.Load(); wall > 0 {
		// The note is of the wall clock; the monotonic one is what counts here.
		if age := time.Duration(now.UnixNano() - wall); age > 0 && age < oldest {
			return now.Add(-age)
		}
	}
	return now
}

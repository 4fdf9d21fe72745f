package timing

import (
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm is a timerfd: the kernel's high-resolution timer behind a descriptor
// that the runtime's poller watches. The runtime's own timers ride on epoll's
// timeout, which counts in milliseconds. Source: timerfd_create(2).
type alarm struct {
	fd     int
	file   *os.File        // owns fd
	offset int64           // CLOCK_MONOTONIC minus the clock's own count, ns
	spec   unix.ItimerSpec // reused: one that escapes would be an allocation a wait
	count  [8]byte
}

// newAlarm opens an alarm that counts as now does, in ns.
func newAlarm(now func() int64) (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create timerfd: %w", err)
	}
	a := &alarm{fd: fd, file: os.NewFile(uintptr(fd), "timerfd")}
	// The poller must know the file, or a wait would block a thread each.
	if err := a.file.SetReadDeadline(time.Time{}); err != nil {
		a.file.Close()
		return nil, fmt.Errorf("poll timerfd: %w", err)
	}
	// Both count the same seconds from different beginnings. The tightest of a
	// few readings bounds the error by half its width, well under 1 µs.
	narrowest := int64(math.MaxInt64)
	for range 8 {
		var ts unix.Timespec
		before := now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			a.file.Close()
			return nil, fmt.Errorf("read monotonic clock: %w", err)
		}
		after := now()
		if width := after - before; width < narrowest {
			narrowest, a.offset = width, ts.Nano()-(before+width/2)
		}
	}
	return a, nil
}

// set makes the alarm go off at a moment of the clock, at once when it is past;
// it replaces what was set.
func (a *alarm) set(at int64) error {
	a.spec.Value = unix.NsecToTimespec(max(1, at+a.offset)) // zero would disarm it
	if err := unix.TimerfdSettime(a.fd, unix.TFD_TIMER_ABSTIME, &a.spec, nil); err != nil {
		return fmt.Errorf("set timerfd: %w", err)
	}
	return nil
}

// wait returns once the alarm has gone off, or with an error once it is closed.
func (a *alarm) wait() error {
	if _, err := a.file.Read(a.count[:]); err != nil {
		return fmt.Errorf("wait for timerfd: %w", err)
	}
	return nil
}

// close ends a wait under way. set must not be called any more; close may.
func (a *alarm) close() { a.file.Close() }

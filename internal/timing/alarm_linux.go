package timing

import (
	"fmt"
	"math"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// alarm is a timerfd: the kernel's high-resolution timer behind a descriptor
// that the runtime's poller watches. The runtime's own timers ride on epoll's
// timeout, which counts in milliseconds. Source: timerfd_create(2).
type alarm struct {
	file   *os.File // owns the descriptor
	raw    syscall.RawConn
	offset int64 // CLOCK_MONOTONIC minus the clock's own count, ns
}

// newAlarm opens an alarm of a clock with that kernelOffset.
func newAlarm(offset int64) (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create timerfd: %w", err)
	}
	a := &alarm{file: os.NewFile(uintptr(fd), "timerfd"), offset: offset}
	// The poller must know the file, or a wait would block a thread each.
	err = a.file.SetReadDeadline(time.Time{})
	if err == nil {
		a.raw, err = a.file.SyscallConn()
	}
	if err != nil {
		a.file.Close()
		return nil, fmt.Errorf("poll timerfd: %w", err)
	}
	return a, nil
}

// kernelOffset returns what CLOCK_MONOTONIC is ahead of now, in ns. Both count
// the same seconds from different beginnings. The tightest of a few readings
// bounds the error by half its width, well under 1 µs.
func kernelOffset(now func() int64) (int64, error) {
	offset, narrowest := int64(0), int64(math.MaxInt64)
	for range 8 {
		var ts unix.Timespec
		before := now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			return 0, fmt.Errorf("read monotonic clock: %w", err)
		}
		if width := now() - before; width < narrowest {
			narrowest, offset = width, ts.Nano()-(before+width/2)
		}
	}
	return offset, nil
}

// wait calls look at once and after each time that the alarm went off, until it
// returns true. It fails once the alarm is closed. look may set the alarm with
// the descriptor it gets. Nothing is read: each expiry is an edge for the
// poller, and setting the alarm again takes the count back.
func (a *alarm) wait(look func(fd uintptr) bool) error {
	if err := a.raw.Read(look); err != nil {
		return fmt.Errorf("wait for timerfd: %w", err)
	}
	return nil
}

// set makes the alarm go off at a moment of the clock, at once when it is past;
// it replaces what was set. fd is what wait or hold gave.
func (a *alarm) set(fd uintptr, at int64) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(1, at+a.offset))} // zero would disarm it
	// Raw: it does not block, and what the scheduler does around a call that may
	// costs more than the call.
	_, _, errno := syscall.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, unix.TFD_TIMER_ABSTIME, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("timerfd_settime", errno)
	}
	return nil
}

// hold calls f with the descriptor, which stays open meanwhile. It fails once
// the alarm is closed.
func (a *alarm) hold(f func(fd uintptr)) error { return a.raw.Control(f) }

// close ends a wait under way.
func (a *alarm) close() { a.file.Close() }

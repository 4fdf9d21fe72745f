//go:build linux

package sock

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// look is what a look at the incoming side needs, and what it found.
type look struct {
	call  func(fd uintptr) // made by the first
	one   [1]byte
	quiet bool
}

// Quiet reports whether nothing is to be read: no byte, no end of the stream, no error.
// It takes nothing, never waits and allocates once. One goroutine at a time asks.
func (c *Conn) Quiet() bool {
	l := &c.look
	if l.call == nil {
		l.call = func(fd uintptr) {
			_, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&l.one)), 1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
			l.quiet = errno == syscall.EAGAIN || errno == syscall.EINTR
		}
	}
	return c.in.raw.Control(l.call) == nil && l.quiet
}

//go:build linux

package sock

import (
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// oldest is how long bytes may plausibly have waited to be read. What says that
// they waited longer is a clock that was set meanwhile.
const oldest = 10 * time.Second

// stamps are the kernel's notes of when bytes came in, which it gives along with
// them. Source: SO_TIMESTAMPNS in socket(7); TCP since Linux 4.14, where the
// note is of the last segment that a read takes from.
type stamps struct {
	on   atomic.Bool
	last atomic.Int64 // ns since 1970 of the last read; 0 where it had none

	iov     syscall.Iovec
	msg     syscall.Msghdr
	control [4]uint64 // room for one note, aligned as the kernel wants it
}

// Stamp has the kernel note from now on when bytes come in, for Arrived. It may
// be called often, and from any goroutine.
func (c *Conn) Stamp() {
	if c.stamps.on.Load() {
		return
	}
	_ = c.in.raw.Control(func(fd uintptr) { // fails on a closed connection, which tells otherwise
		if syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1) == nil {
			c.stamps.on.Store(true)
		}
	})
}

// Arrived returns when the bytes of the last Read came in, where the kernel
// noted it: a little after the first of them at the latest. Otherwise, and for
// whatever is no plausible time, it returns now.
func (c *Conn) Arrived() time.Time {
	now := time.Now()
	if wall := c.stamps.last.Load(); wall > 0 {
		// The note is of the wall clock; the monotonic one is what counts here.
		if age := time.Duration(now.UnixNano() - wall); age > 0 && age < oldest {
			return now.Add(-age)
		}
	}
	return now
}

// read reads into p, and keeps the note. One goroutine at a time may call it.
func (s *stamps) read(fd uintptr, p []byte) (n uintptr, errno syscall.Errno) {
	s.iov = syscall.Iovec{Base: unsafe.SliceData(p)}
	s.iov.SetLen(len(p))
	s.msg = syscall.Msghdr{Iov: &s.iov, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&s.control))}
	for {
		s.msg.SetControllen(int(unsafe.Sizeof(s.control)))
		n, _, errno = syscall.RawSyscall(syscall.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&s.msg)), 0)
		if errno != syscall.EINTR {
			break
		}
	}
	if errno == 0 {
		s.last.Store(s.note())
	}
	s.iov.Base = nil
	raceRead(fd, p, n, errno)
	return n, errno
}

// note returns what the last read's note says, in ns since 1970; 0 for none.
func (s *stamps) note() int64 {
	const size = syscall.SizeofCmsghdr + int(unsafe.Sizeof(syscall.Timespec{}))
	h := (*syscall.Cmsghdr)(unsafe.Pointer(&s.control))
	if int(s.msg.Controllen) < size || h.Level != syscall.SOL_SOCKET || h.Type != syscall.SCM_TIMESTAMPNS {
		return 0
	}
	at := (*syscall.Timespec)(unsafe.Add(unsafe.Pointer(&s.control), syscall.SizeofCmsghdr))
	return at.Nano()
}

//go:build linux

package sock

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tcpInq has the kernel tell with each read how much is left to be read: 0 where
// nothing is, not even the stream's end. Source: TCP_INQ in linux/tcp.h;
// tcp_inq_hint in net/ipv4/tcp.c.
const tcpInq = 36

// notes are what the kernel tells along with what is read, where it was asked to: when
// it came in, and what is left. Source of the first: SO_TIMESTAMPNS in socket(7); TCP
// since Linux 4.14, where the note is of the last segment that a read takes from.
type notes struct {
	stamped atomic.Bool  // it was asked for the first: see Stamp
	at      atomic.Int64 // when the last read's bytes came in, ns since 1970; 0 where it had no note
	left    int          // what the last read left to be read; -1 where it had no note

	iov     syscall.Iovec
	msg     syscall.Msghdr
	control [8]uint64 // room for both, aligned as the kernel wants it
}

// read reads into p, and keeps the notes. One goroutine at a time may call it.
func (s *notes) read(fd uintptr, p []byte) (n uintptr, errno syscall.Errno) {
	s.iov = syscall.Iovec{Base: unsafe.SliceData(p)}
	s.iov.SetLen(len(p))
	s.msg = syscall.Msghdr{Iov: &s.iov, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&s.control))}
	for {
		s.msg.SetControllen(int(unsafe.Sizeof(s.control)))
		n, _, errno = syscall.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&s.msg)), 0)
		if errno != syscall.EINTR {
			break
		}
	}
	if s.left = -1; errno == 0 {
		s.keep()
	}
	s.iov.Base = nil
	raceRead(fd, p, n, errno)
	return n, errno
}

// keep takes the notes out of what the last read gave.
func (s *notes) keep() {
	at := int64(0)
	given := unsafe.Slice((*byte)(unsafe.Pointer(&s.control)), int(s.msg.Controllen))
	for len(given) >= syscall.SizeofCmsghdr {
		h := (*syscall.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(given)))
		size := int(h.Len) - syscall.SizeofCmsghdr
		data := unsafe.Pointer(unsafe.SliceData(given[syscall.SizeofCmsghdr:]))
		switch {
		case h.Level == syscall.SOL_SOCKET && h.Type == syscall.SCM_TIMESTAMPNS && size == int(unsafe.Sizeof(syscall.Timespec{})):
			at = (*syscall.Timespec)(data).Nano()
		case h.Level == syscall.IPPROTO_TCP && h.Type == tcpInq && size == 4:
			s.left = int(*(*int32)(data))
		}
		given = given[min(syscall.CmsgSpace(max(size, 0)), len(given)):]
	}
	if s.stamped.Load() {
		s.at.Store(at)
	}
}

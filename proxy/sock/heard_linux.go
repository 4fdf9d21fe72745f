package sock

import (
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Waiting reports whether something that was sent, two keep-alive probes included, waits for
// a word of the other side's kernel, and how long ago the last came. A machine that works on
// a request, or whose program does not read, says something all the same: where it has no
// room for more, that it has none. It is one system call.
func (c *Conn) Waiting() (waiting bool, heard time.Duration) {
	a := askers.Get().(*asker)
	defer askers.Put(a)
	if c.in.raw.Control(a.call) != nil || a.errno != 0 { // closed: waits for nothing
		return false, 0
	}
	info := &a.info
	// What there was no room for stays unacknowledged, and is sent again more and more
	// seldom; each time is answered.
	unanswered := info.Last_data_sent < info.Last_ack_recv
	// One probe may be lost, or its answer held back (tcp_invalid_ratelimit); the next
	// may be a minute away.
	waiting = info.Unacked > 0 && unanswered || info.Probes > 1
	return waiting, time.Duration(min(info.Last_ack_recv, info.Last_data_recv)) * time.Millisecond
}

// asker asks the kernel about a connection.
type asker struct {
	call  func(fd uintptr)
	info  unix.TCPInfo // up to Last_ack_recv
	errno syscall.Errno
}

// Pooled: saves 3 allocations a look.
var askers = sync.Pool{New: func() any {
	a := &asker{}
	a.call = a.ask
	return a
}}

func (a *asker) ask(fd uintptr) {
	size := uint32(unsafe.Offsetof(a.info.Last_ack_recv) + unsafe.Sizeof(a.info.Last_ack_recv))
	_, _, a.errno = syscall.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&a.info)), uintptr(unsafe.Pointer(&size)), 0)
}

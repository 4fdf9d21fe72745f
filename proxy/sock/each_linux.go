//go:build linux && !race

package sock

import (
	"net"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// each is what Each needs of a connection.
type each struct {
	mu      sync.Mutex
	busy    bool // Each is under way
	closing bool // Close was called meanwhile

	asked, told bool // the kernel was asked to tell what is left; it does

	iov     syscall.Iovec
	msg     syscall.Msghdr
	control [4]uint64 // room for one note, aligned as the kernel wants it
}

// tcpInq has the kernel tell with each read how much is left to be read: 0 where
// nothing is, the stream's end included. Source: TCP_INQ in linux/tcp.h, since 4.18;
// tcp_inq_hint in net/ipv4/tcp.c.
const tcpInq = 36

// Steady reports whether Each may be called: one goroutine at a time asks.
func (c *Conn) Steady() bool {
	e := &c.each
	if !e.asked {
		e.asked = true
		_ = c.in.raw.Control(func(fd uintptr) { // fails on a closed connection, which tells otherwise
			e.told = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpInq, 1) == nil
		})
	}
	return e.told && !c.stamps.on.Load()
}

// Each reads into what in lends and hands what came to use, again and again, until
// use returns false, or Steady would. It spares the read that finds nothing, as a
// server's does that has just answered: the kernel tells when nothing is left, and
// what comes then wakes the netpoller, however long use takes.
//
// While use runs, others' reads wait. A Close has reads and writes fail at once, and
// closes the connection when use has returned.
func (c *Conn) Each(in Room, use func(n int) bool) error {
	s, e := &c.in, &c.each
	s.mu.Lock()
	defer s.mu.Unlock()
	e.mu.Lock()
	e.busy = true
	e.mu.Unlock()
	defer c.eachDone()
	over := false
	err := s.raw.Read(func(fd uintptr) bool {
		for {
			left := e.read(s, fd, in.Take())
			if s.n == 0 {
				in.Drop()
				return s.errno != syscall.EAGAIN
			}
			if over = !use(s.n) || c.stamps.on.Load() || e.isClosing(); over {
				return true
			}
			if left == 0 {
				return false
			}
		}
	})
	switch {
	case e.isClosing():
		return net.ErrClosed
	case over:
		return nil
	}
	_, err = c.gave(s.n, s.errno, err)
	return err
}

func (e *each) isClosing() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closing
}

func (c *Conn) eachDone() {
	e := &c.each
	e.mu.Lock()
	e.busy = false
	closing := e.closing
	e.mu.Unlock()
	if closing {
		_ = c.TCPConn.Close() // nobody is left to tell
	}
}

// Close closes the connection; see Each.
func (c *Conn) Close() error {
	e := &c.each
	e.mu.Lock()
	busy := e.busy
	e.closing = e.closing || busy
	e.mu.Unlock()
	if busy {
		return c.SetDeadline(time.Unix(1, 0))
	}
	return c.TCPConn.Close()
}

// read reads into p, and returns how much is left, -1 where the kernel does not say.
func (e *each) read(s *side, fd uintptr, p []byte) (left int) {
	e.iov = syscall.Iovec{Base: unsafe.SliceData(p)}
	e.iov.SetLen(len(p))
	e.msg = syscall.Msghdr{Iov: &e.iov, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&e.control))}
	var n uintptr
	var errno syscall.Errno
	for {
		e.msg.SetControllen(int(unsafe.Sizeof(e.control)))
		n, _, errno = syscall.RawSyscall(syscall.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&e.msg)), 0)
		if errno != syscall.EINTR {
			break
		}
	}
	e.iov.Base = nil
	s.did(n, errno)
	const size = syscall.SizeofCmsghdr + 4
	h := (*syscall.Cmsghdr)(unsafe.Pointer(&e.control))
	if errno != 0 || int(e.msg.Controllen) < size || h.Level != syscall.IPPROTO_TCP || h.Type != tcpInq {
		return -1
	}
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&e.control), syscall.SizeofCmsghdr)))
}

// Ended reports whether the other side has ended its stream or the connection,
// whatever is still to be read. It never waits, for Each neither.
func (c *Conn) Ended() bool {
	const established = 1 // TCP_ESTABLISHED in net/tcp_states.h
	state, size := uint8(0), uint32(1)
	var errno syscall.Errno
	err := c.in.raw.Control(func(fd uintptr) {
		_, _, errno = syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&state)), uintptr(unsafe.Pointer(&size)), 0)
	})
	return err != nil || errno == 0 && state != established
}

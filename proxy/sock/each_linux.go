//go:build linux

package sock

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// each is what Each needs of a connection.
type each struct {
	mu      sync.Mutex  // for who sets the two
	busy    bool        // Each is under way
	closing atomic.Bool // Close was called meanwhile

	fd uintptr // where Each calls use: the descriptor, which it holds

	asked, told bool // the kernel was asked to tell what is left; it does

	kept int // its place in theVigil, from 1; 0 for none. Guarded by its mu
}

// tellsEnd reports whether the kernel counts the stream's end as left to be read. One
// that does not would have Each wait for what it was woken for before. Source: commit
// 6466e715651f of Linux, in 5.1; TCP_INQ itself is from 4.18.
var tellsEnd = sync.OnceValue(func() bool {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return false
	}
	var release []byte
	for _, c := range u.Release {
		release = append(release, byte(c))
	}
	return since51(string(release))
})

// since51 reports whether a kernel's release, such as "6.1.0-13-amd64", is 5.1 or later.
func since51(release string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major > 5 || major == 5 && minor >= 1
}

// Steady reports whether Each may be called: one goroutine at a time asks.
func (c *Conn) Steady() bool {
	e := &c.each
	if !e.asked {
		e.asked = true
		_ = c.in.raw.Control(func(fd uintptr) { // fails on a closed connection, which tells otherwise
			e.told = tellsEnd() && syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpInq, 1) == nil
		})
	}
	return e.told
}

// Each reads into what in lends and hands what came to use, again and again, until
// use returns false. It spares the read that finds nothing, as a server's does that has
// just answered: the kernel tells when nothing is left, and what comes then wakes the
// netpoller, however long use takes.
//
// While use runs, others' reads wait. A Close or Reset ends both streams at once, and
// gives the descriptor back when use has returned: the TCPConn's own Close would wait
// for that.
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
			if e.closing.Load() {
				return true
			}
			s.did(c.notes.read(fd, in.Take()))
			if s.n == 0 {
				in.Drop()
				return s.errno != syscall.EAGAIN
			}
			e.fd = fd
			if over = !use(s.n); over {
				return true
			}
			if c.notes.left == 0 {
				return false
			}
		}
	})
	switch {
	case e.closing.Load():
		return net.ErrClosed
	case over:
		return nil
	}
	_, err = c.gave(s.n, s.errno, err)
	return err
}

// WriteWithin is Write for who is called by Each, and for nobody else: the descriptor is
// held there and need not be asked for.
func (c *Conn) WriteWithin(p []byte) (int, error) {
	giveWay(answering)
	c.out.mu.Lock()
	n, errno := send(c.each.fd, p)
	c.out.mu.Unlock()
	switch {
	case errno == 0 && int(n) == len(p):
		return len(p), nil
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		n = 0
	case errno != 0:
		return 0, c.failed("write", errno)
	}
	rest, err := c.Write(p[n:]) // may have to wait
	return int(n) + rest, err
}

// Try writes what the kernel takes of p at once, and returns how much: none where it
// takes nothing or the connection is broken, which the next Write tells. within says that
// Each is under way and waits for who calls this, as in WriteWithin.
func (c *Conn) Try(p []byte, within bool) int {
	s := &c.out
	s.mu.Lock()
	defer s.mu.Unlock()
	if within {
		s.did(send(c.each.fd, p))
		return s.n
	}
	if s.try == nil {
		s.try = func(fd uintptr) bool {
			s.did(send(fd, s.one))
			return true
		}
	}
	s.one, s.n = p, 0
	_ = s.raw.Write(s.try) // as said
	s.one = nil
	return s.n
}

func (c *Conn) eachDone() {
	e := &c.each
	e.mu.Lock()
	e.busy = false
	closing := e.closing.Load()
	e.mu.Unlock()
	if closing {
		_ = c.TCPConn.Close() // nobody is left to tell
	}
}

// Close closes the connection; see Each.
func (c *Conn) Close() error {
	if !c.closeLater() {
		return c.TCPConn.Close()
	}
	// Fails where it is closed already. Each is woken by it, and so is who writes.
	_ = c.in.raw.Control(func(fd uintptr) { _ = syscall.Shutdown(int(fd), syscall.SHUT_RDWR) })
	return nil
}

// Reset closes the connection with RST: no FIN, and what is still in the kernel's
// send buffer is lost. See Each.
func (c *Conn) Reset() {
	_ = c.SetLinger(0) // fails where it is closed already, as what follows
	if !c.closeLater() {
		_ = c.TCPConn.Close()
		return
	}
	// What close would do but for the descriptor. Source: connect(2), AF_UNSPEC;
	// tcp_disconnect in net/ipv4/tcp.c.
	_ = c.in.raw.Control(func(fd uintptr) {
		none := syscall.RawSockaddr{Family: syscall.AF_UNSPEC}
		_, _, errno := syscall.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none))
		if errno != 0 {
			_ = syscall.Shutdown(int(fd), syscall.SHUT_RDWR)
		}
	})
}

// closeLater has Each close the connection where it is under way.
func (c *Conn) closeLater() bool {
	e := &c.each
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.busy {
		e.closing.Store(true)
	}
	return e.busy
}

// pollFd is one descriptor that ppoll is asked about. Source: poll(2).
type pollFd struct {
	fd              int32
	events, revents int16
}

// Of poll(2): the other side sends no more; the connection is gone.
const (
	pollRdhup = 0x2000
	pollHup   = 0x10
)

// Ended reports whether the other side has ended its stream or the connection,
// whatever is still to be read, or this side has closed it. It never waits, for Each
// neither.
func (c *Conn) Ended() bool {
	ask, now := pollFd{events: pollRdhup}, syscall.Timespec{}
	var errno syscall.Errno
	err := c.in.raw.Control(func(fd uintptr) {
		ask.fd = int32(fd)
		_, _, errno = syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&ask)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	})
	return err != nil || errno == 0 && ask.revents&(pollRdhup|pollHup) != 0
}

// Rouse wakes a read that waits although the other side has ended its stream: see
// ReadAfter. Elsewhere it does nothing, and it never waits.
func (c *Conn) Rouse() {
	if !c.Ended() {
		return
	}
	// What came is still to be read, and nothing more will: all that this changes is that
	// the netpoller is told once more. Source: inet_shutdown in net/ipv4/af_inet.c.
	_ = c.in.raw.Control(func(fd uintptr) { _ = syscall.Shutdown(int(fd), syscall.SHUT_RD) }) // fails on a closed connection
}

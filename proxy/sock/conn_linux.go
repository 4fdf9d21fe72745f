//go:build linux

package sock

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// Conn is a TCP connection with raw reads and writes. All else is the
// connection's own, splicing included.
type Conn struct {
	*net.TCPConn
	in, out side
	notes   notes
	each    each
	look    look

	withheld bool // see Withhold; guarded by in's mu
}

// Wrap returns nc as a *Conn where it is a *net.TCPConn, and nc itself
// otherwise. The two are one connection: whoever closes one closes the other.
func Wrap(nc net.Conn) net.Conn {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return nc
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nc // closed: the first use tells
	}
	c := &Conn{TCPConn: t}
	c.in.raw, c.out.raw = raw, raw
	// Made once a connection: no call allocates.
	c.in.call, c.out.call = c.in.read, c.out.write
	c.in.after = c.in.writeFirst
	c.in.notes = &c.notes
	return c
}

// NetConn returns the connection below, for its socket.
func (c *Conn) NetConn() net.Conn { return c.TCPConn }

// Read reads as the connection below does.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return c.readOnce(p, nil)
}

// ReadInto reads once into what in lends.
func (c *Conn) ReadInto(in Room) (int, error) { return c.readOnce(nil, in) }

// readOnce reads into p, or into what in lends where that is not nil.
func (c *Conn) readOnce(p []byte, in Room) (int, error) {
	s := &c.in
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.withheld {
		return 0, Withheld
	}
	s.one, s.room = p, in
	err := s.raw.Read(s.call)
	s.one, s.room = nil, nil
	return c.gave(s.n, s.errno, err)
}

// gave is what Read returns where the raw read returned err and, where that is
// nil, gave n and errno.
func (c *Conn) gave(n int, errno syscall.Errno, err error) (int, error) {
	switch {
	case err != nil:
		return 0, named(err, "read")
	case errno != 0:
		return 0, c.failed("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// ReadAfter writes all of out and then reads once into what in lends. That both are known
// at once spares a call: a read before anything can have come is of no use, but
// to the netpoller, which must be told to wait before the answer can be there.
//
// What came unasked, before, may be noticed only with what comes next: the caller
// knows that the other side speaks only when it is spoken to. Where that was the
// stream's end nothing comes any more, and Rouse has to be called for it. What became
// of the write is in Sent, whatever the read gave.
func (c *Conn) ReadAfter(out []byte, in Room) (int, Sent, error) {
	s := &c.in
	s.mu.Lock()
	s.room, s.first, s.sentAt = in, out, time.Time{}
	err := s.raw.Read(s.after)
	rest, sent := s.first, Sent{At: s.sentAt}
	s.room, s.first = nil, nil
	n, errno := s.n, s.errno
	s.mu.Unlock()
	switch {
	case err != nil:
		return 0, sent, named(err, "read")
	case rest != nil: // the kernel did not take it all, or nothing
		if _, sent.Err = c.Write(rest); sent.Err == nil {
			sent.At = timing.Instant()
		}
		n, err = c.ReadInto(in)
		return n, sent, err
	}
	n, err = c.gave(n, errno, nil)
	return n, sent, err
}

// Write writes all of p as the connection below does.
func (c *Conn) Write(p []byte) (int, error) {
	s := &c.out
	s.mu.Lock()
	defer s.mu.Unlock()
	for done := 0; done < len(p); {
		s.one = p[done:]
		n, err := c.writeOnce(s)
		if done += n; err != nil {
			return done, err
		}
	}
	return len(p), nil
}

// WriteVec writes all of the pieces, as many as the kernel takes with one call.
// It changes nothing of v but its elements, which are used up.
func (c *Conn) WriteVec(v [][]byte) error {
	s := &c.out
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(v) > 0 && len(v[0]) == 0 {
			v = v[1:]
		}
		if len(v) == 0 {
			return nil
		}
		s.vec(v)
		n, err := c.writeOnce(s)
		s.iov, s.vecs = [vecMax]syscall.Iovec{}, 0
		if err != nil {
			return err
		}
		for i := range v {
			k := min(n, len(v[i]))
			v[i] = v[i][k:]
			n -= k
		}
	}
}

func (c *Conn) writeOnce(s *side) (int, error) {
	err := s.raw.Write(s.call)
	s.one = nil
	switch {
	case err != nil:
		return 0, named(err, "write")
	case s.errno != 0:
		return 0, c.failed("write", s.errno)
	}
	return s.n, nil
}

func (c *Conn) failed(op string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
}

// named gives an error of the raw connection the operation's name.
func named(err error, op string) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		named := *e
		named.Op = op
		return &named
	}
	return err
}

// vecMax is how many pieces go out with one call.
const vecMax = 4

// side is one direction of a connection, and the call under way on it.
type side struct {
	mu   sync.Mutex // callers may read, or write, at once
	raw  syscall.RawConn
	call func(fd uintptr) bool
	try  func(fd uintptr) bool // see Try, which makes it

	notes *notes // of the incoming side; nil on the other

	one   []byte // what is read into or written, unless there are pieces
	room  Room   // lends what is read into; nil where one is the caller's
	first []byte // what is to be written before the read; nil once it is
	after func(fd uintptr) bool
	// sentAt is when first was written.
	sentAt time.Time
	iov    [vecMax]syscall.Iovec
	vecs   int
	n      int
	errno  syscall.Errno
}

func (s *side) vec(v [][]byte) {
	for i := range v[:min(len(v), vecMax)] {
		if len(v[i]) > 0 {
			s.iov[s.vecs] = syscall.Iovec{Base: &v[i][0]}
			s.iov[s.vecs].SetLen(len(v[i]))
			s.vecs++
		}
	}
}

// read, write and writeFirst report whether the call is over; where not, the
// netpoller waits. recvfrom and sendto are a little shorter in the kernel than
// read and write, which look for a file's offset.
func (s *side) read(fd uintptr) bool {
	if s.room == nil {
		return s.did(s.receive(fd))
	}
	s.one = s.room.Take()
	over := s.did(s.receive(fd))
	if s.one = nil; s.n == 0 {
		s.room.Drop()
	}
	return over
}

func (s *side) receive(fd uintptr) (n uintptr, errno syscall.Errno) {
	if s.notes.stamped.Load() {
		return s.notes.read(fd, s.one)
	}
	for {
		n, _, errno = syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(s.one))), uintptr(len(s.one)), 0, 0, 0)
		if errno != syscall.EINTR {
			raceRead(fd, s.one, n, errno)
			return n, errno
		}
	}
}

func (s *side) write(fd uintptr) bool {
	for {
		var n uintptr
		var errno syscall.Errno
		if s.vecs > 0 {
			raceWrite()
			n, _, errno = syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&s.iov)), uintptr(s.vecs))
		} else {
			n, errno = send(fd, s.one)
		}
		if errno != syscall.EINTR {
			return s.did(n, errno)
		}
	}
}

func (s *side) writeFirst(fd uintptr) bool {
	if s.first == nil {
		return s.read(fd)
	}
	giveWay(asking)
	n, errno := send(fd, s.first)
	if errno != 0 || int(n) < len(s.first) {
		if errno == 0 {
			s.first = s.first[n:]
		}
		return true
	}
	s.first, s.sentAt = nil, timing.Instant()
	return false
}

func send(fd uintptr, p []byte) (uintptr, syscall.Errno) {
	raceWrite()
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
	raceWritten(p, n, errno)
	return n, errno
}

func (s *side) did(n uintptr, errno syscall.Errno) bool {
	s.n, s.errno = int(n), errno
	if errno != 0 {
		s.n = 0
	}
	return errno != syscall.EAGAIN
}

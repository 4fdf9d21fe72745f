//go:build linux && !race

package sock

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// Conn is a TCP connection with raw reads and writes. All else is the
// connection's own, splicing included.
type Conn struct {
	*net.TCPConn
	in, out side
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
	return c
}

// NetConn returns the connection below, for its socket.
func (c *Conn) NetConn() net.Conn { return c.TCPConn }

// Read reads as the connection below does.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s := &c.in
	s.mu.Lock()
	defer s.mu.Unlock()
	s.one = p
	err := s.raw.Read(s.call)
	s.one = nil
	switch {
	case err != nil:
		return 0, named(err, "read")
	case s.errno != 0:
		return 0, c.failed("read", s.errno)
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
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

	one   []byte // what is read into or written, unless there are pieces
	iov   [vecMax]syscall.Iovec
	vecs  int
	n     int
	errno syscall.Errno
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

// read and write report whether the call is over; where not, the netpoller waits.
func (s *side) read(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(s.one))), uintptr(len(s.one)))
		if errno != syscall.EINTR {
			return s.did(n, errno)
		}
	}
}

func (s *side) write(fd uintptr) bool {
	trap, what, size := uintptr(syscall.SYS_WRITE), unsafe.Pointer(unsafe.SliceData(s.one)), len(s.one)
	if s.vecs > 0 {
		trap, what, size = syscall.SYS_WRITEV, unsafe.Pointer(&s.iov), s.vecs
	}
	for {
		n, _, errno := syscall.RawSyscall(trap, fd, uintptr(what), uintptr(size))
		if errno != syscall.EINTR {
			return s.did(n, errno)
		}
	}
}

func (s *side) did(n uintptr, errno syscall.Errno) bool {
	s.n, s.errno = int(n), errno
	if errno != 0 {
		s.n = 0
	}
	return errno != syscall.EAGAIN
}

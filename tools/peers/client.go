package main

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// client asks for stamps of the answers' arrival. It is one thread around
// epoll that never gives its processor back to the runtime: a goroutine for
// each connection would add its own wake-up to what the client sees, and a
// wait that the runtime knows of costs a CPU time of 200 to 400 µs, because it
// wakes the runtime's monitor, which looks for work every 20 µs for a while.
type client struct {
	stampLoad
	addr    unix.SockaddrInet4
	request []byte
	epoll   int
	conns   []connection
	waiting pauses
	buf     []byte
	control []byte
	result  stamps
	seen    []time.Duration
	socket  []time.Duration
}

// runClient loads as l says, and prints what it found.
func runClient(args []string) error {
	l, err := parseStampLoad(args)
	if err != nil {
		return err
	}
	// A run allocates some tens of MiB at most, and a collection is a pause.
	debug.SetGCPercent(-1)
	c, err := newClient(l)
	if err != nil {
		return err
	}
	if err := c.run(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, c.result.line())
	return err
}

func newClient(l stampLoad) (*client, error) {
	u, err := url.Parse(l.url)
	if err != nil {
		return nil, err
	}
	addr, err := netip.ParseAddrPort(u.Host)
	if err != nil || !addr.Addr().Is4() {
		return nil, fmt.Errorf("client: want a URL with an IPv4 address and a port, got %q", l.url)
	}
	c := &client{
		stampLoad: l,
		addr:      unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()},
		request:   []byte("GET " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\n\r\n"),
		conns:     make([]connection, l.conns),
		buf:       make([]byte, 64<<10),
		control:   make([]byte, 128),
	}
	c.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return c, err
}

// run connects, loads for the asked time and closes. A server that takes too
// few connections is loaded with those that it took; the others are errors.
func (c *client) run() error {
	defer func() {
		for i := range c.conns {
			c.hangUp(int32(i))
		}
	}()
	patience := time.Now().Add(10 * time.Second)
	for i := range c.conns {
		c.conns[i].fd = -1
	}
	for i := range c.conns {
		if time.Now().After(patience) {
			c.result.fault(len(c.conns)-i, errors.New("connect: the server took too long for so many"))
			break
		}
		c.dial(int32(i))
	}
	before, err := ownCPU()
	if err != nil {
		return err
	}
	start := time.Now()
	for i := range c.conns {
		if c.conns[i].fd < 0 {
			continue
		}
		if c.spread > 0 {
			c.rest(int32(i), start.Add(c.spread*time.Duration(i)/time.Duration(len(c.conns))))
		} else {
			c.next(int32(i))
		}
	}
	if err := c.loop(start.Add(c.took)); err != nil {
		return err
	}
	after, err := ownCPU()
	c.result.fold(c.seen, c.socket, after-before)
	return err
}

// loop serves the connections until a moment.
func (c *client) loop(until time.Time) error {
	events := make([]unix.EpollEvent, 64)
	for {
		now := time.Now()
		if now.After(until) {
			return nil
		}
		for len(c.waiting) > 0 && !c.waiting[0].endsAt.After(now) {
			c.send(heap.Pop(&c.waiting).(pause).conn)
		}
		wait := until
		if len(c.waiting) > 0 && c.waiting[0].endsAt.Before(until) {
			wait = c.waiting[0].endsAt
		}
		n, err := epollWait(c.epoll, events, max(time.Until(wait), 0))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for answers: %w", err)
		}
		for _, e := range events[:n] {
			c.read(e.Fd)
		}
	}
}

// epollWait waits to the nanosecond, and without telling the runtime; see
// client. It needs Linux 5.11.
func epollWait(epoll int, events []unix.EpollEvent, d time.Duration) (int, error) {
	limit := unix.NsecToTimespec(int64(d))
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)),
		uintptr(unsafe.Pointer(&limit)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// next sends a connection's next request, after its pause.
func (c *client) next(i int32) {
	d := c.least
	if c.think > 0 {
		d += rand.N(c.think)
	}
	if d == 0 {
		c.send(i)
		return
	}
	c.rest(i, time.Now().Add(d))
}

func (c *client) rest(i int32, until time.Time) {
	heap.Push(&c.waiting, pause{endsAt: until, conn: i})
}

func (c *client) send(i int32) {
	conn := &c.conns[i]
	if conn.fd < 0 && !c.dial(i) {
		return
	}
	conn.asked, conn.begun, conn.partial = true, false, conn.partial[:0]
	conn.sentAt = time.Now()
	// So few bytes fit into a socket whose last request was answered.
	switch n, err := unix.Write(conn.fd, c.request); {
	case err != nil:
		c.broken(i, fmt.Errorf("send a request: %w", err))
	case n < len(c.request):
		c.broken(i, fmt.Errorf("send a request: the socket took %d bytes of %d", n, len(c.request)))
	}
}

// read takes what has come for a connection.
func (c *client) read(i int32) {
	conn := &c.conns[i]
	n, controls, _, _, err := unix.Recvmsg(conn.fd, c.buf, c.control, unix.MSG_DONTWAIT)
	readAt := time.Now()
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	if !conn.asked {
		c.hangUp(i) // a server may end a connection that rests; the next request makes a new one
		return
	}
	if n <= 0 {
		c.broken(i, fmt.Errorf("read an answer: %w", cmp.Or(err, io.ErrUnexpectedEOF)))
		return
	}
	if !conn.begun {
		conn.begun = true
		conn.socket = untilSocket(conn.sentAt, readAt, c.control[:controls])
	}
	got := c.buf[:n]
	if len(conn.partial) > 0 {
		conn.partial = append(conn.partial, got...)
		got = conn.partial
	}
	a, err := readAnswer(got)
	if err != nil {
		c.broken(i, err)
		return
	}
	if !a.whole {
		if len(conn.partial) == 0 {
			conn.partial = append(conn.partial, got...)
		}
		return
	}
	conn.asked = false
	c.seen = append(c.seen, readAt.Sub(conn.sentAt))
	if conn.socket >= 0 {
		c.socket = append(c.socket, conn.socket)
	}
	if a.close {
		c.hangUp(i)
	}
	c.next(i)
}

// untilSocket is the time from a request's send until its answer was at the
// socket, or negative if the kernel did not say. It deducts the stamp's age at
// the read, both by CLOCK_REALTIME, from the time until the read, which is
// monotonic: so setting the clock while an answer is awaited does no harm.
func untilSocket(sentAt, readAt time.Time, control []byte) time.Duration {
	stamp, ok := readStamp(control)
	if !ok {
		return -1
	}
	// Round drops the monotonic reading, which the stamp has not.
	age := readAt.Round(0).Sub(stamp)
	until := readAt.Sub(sentAt) - age
	if age < 0 || until < 0 {
		return -1 // the clock was set just then
	}
	return until
}

// broken counts an error; after a while the connection is made anew.
func (c *client) broken(i int32, err error) {
	c.result.fault(1, err)
	c.hangUp(i)
	c.rest(i, time.Now().Add(max(c.least, 10*time.Millisecond)))
}

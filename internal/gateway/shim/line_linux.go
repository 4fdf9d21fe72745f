package shim

import (
	"sync"
	"syscall"
)

// maxNote bounds a message; there is no long list in one.
const maxNote = 16 << 10

// Line is one end of the pair of sockets between the shim and its parent.
type Line struct {
	fd            int
	mu            sync.Mutex // one sender at a time
	reads, writes Until      // as it waits; nil to wait in the system calls
	buf, oob      []byte     // the receiver's, used again
}

// NewLine returns the line over one of a pair of SOCK_SEQPACKET sockets.
func NewLine(fd int) *Line { return &Line{fd: fd} }

// Until calls try, which reports whether it is done, until it is, and waits in between
// until the socket may have become ready.
type Until func(try func() bool) error

// Wait lets the line wait as the caller says, on its descriptor: a goroutine that waits in
// a system call keeps others from running until the runtime has noticed, which can take
// 10 ms. Nobody may be using it yet.
func (l *Line) Wait(on func(fd int) (reads, writes Until, err error)) (err error) {
	l.reads, l.writes, err = on(l.fd)
	return err
}

// Send sends a note and copies of descriptors.
func (l *Line) Send(n Note, fds ...int) error {
	var c codec
	c.note(&n)
	var rights []byte
	if len(fds) > 0 {
		rights = syscall.UnixRights(fds...)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writes.do(func() error { return syscall.Sendmsg(l.fd, c.buf, rights, nil, syscall.MSG_NOSIGNAL) })
}

// do does what may have to wait, and again where a signal came between.
func (u Until) do(what func() error) (err error) {
	try := func() bool {
		for err = what(); err == syscall.EINTR; {
			err = what()
		}
		return u == nil || err != syscall.EAGAIN
	}
	if u == nil {
		try()
	} else if failed := u(try); failed != nil {
		return failed
	}
	return err
}

// Receive waits for a message. ErrGone says that the other process is gone. There is one
// receiver at a time.
func (l *Line) Receive() (n Note, fds []int, err error) {
	if l.buf == nil {
		l.buf, l.oob = make([]byte, maxNote), make([]byte, syscall.CmsgSpace(4*64))
	}
	buf, oob := l.buf, l.oob
	var size, oobSize int
	err = l.reads.do(func() (err error) {
		size, oobSize, _, _, err = syscall.Recvmsg(l.fd, buf, oob, syscall.MSG_CMSG_CLOEXEC)
		if err == syscall.ECONNRESET {
			// The other process ended with a message unread. The kernel says so once, and
			// before what that process had sent.
			size, oobSize, _, _, err = syscall.Recvmsg(l.fd, buf, oob, syscall.MSG_CMSG_CLOEXEC)
		}
		return err
	})
	switch {
	case err == syscall.ECONNRESET || err == nil && size == 0:
		return Note{}, nil, ErrGone
	case err != nil:
		return Note{}, nil, err
	}
	if fds, err = descriptors(oob[:oobSize]); err != nil {
		return Note{}, nil, err
	}
	c := codec{buf: buf[:size], reading: true}
	c.note(&n)
	return n, fds, c.err
}

// ErrGone says that the process at the other end of a line is gone.
const ErrGone = syscall.ESRCH

func descriptors(oob []byte) (fds []int, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		got, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, err
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// Close closes the line. Nobody may be receiving.
func (l *Line) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = syscall.Close(l.fd)
	l.fd = -1
}

// Role is what a descriptor that the shim hands over is for.
type Role int

// The roles, in the order in which they are handed over.
const (
	TCP4 Role = iota
	TCP6
	Local4
	Local6
	DNS4 // UDP
	DNS6
	DNSStream4
	DNSStream6
	LocalDNS4 // UDP
	LocalDNS6
	LocalDNSStream4
	LocalDNSStream6
	LocalReply4 // raw: answers in the name of a resolver on the loopback
	LocalReply6
	UDP4 // raw: sees the UDP that is refused
	UDP6
	AskOutside
	AskInside
	Down // NETLINK_ROUTE
	Up
	DownDevice // where the link is carried: frames with a header of virtio's
	UpDevice
	DownProbes // raw ICMP, at either end of the link
	UpProbes
	Roles
)

// IPv6 reports whether a role is IPv6's.
func (r Role) IPv6() bool {
	switch r {
	case TCP6, Local6, DNS6, DNSStream6, LocalDNS6, LocalDNSStream6, LocalReply6, UDP6:
		return true
	}
	return false
}

// Handed returns the roles that come with SaysSockets.
func (n Note) Handed() (all []Role) {
	for r := range Roles {
		if r.IPv6() && !n.IPv6 || r == AskOutside && !n.AskOutside || r == AskInside && !n.AskInside ||
			(r == DownDevice || r == UpDevice) && !n.Carried || (r == DownProbes || r == UpProbes) && !n.Probes {
			continue
		}
		all = append(all, r)
	}
	return all
}

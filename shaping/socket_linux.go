package shaping

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// messages is what carries netlink: the library's socket, or one that was given.
type messages interface {
	Send(*nl.NetlinkRequest) error
	Receive() ([]syscall.NetlinkMessage, *unix.SockaddrNetlink, error)
	Close()
}

// given is a socket that somebody else opened, in a namespace that this process may
// not be able to enter. The library makes its sockets itself and takes none.
type given struct {
	file *os.File
	raw  syscall.RawConn
	buf  []byte
}

// largest is the kernel's largest datagram of a dump.
const largest = 32 << 10

// borrow talks over a socket that stays its owner's. What answers of the owner's were
// left in it unread are thrown away.
func borrow(file *os.File) (*conn, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	g := &given{file: file, raw: raw, buf: make([]byte, largest)}
	c := &conn{socket: g}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for failed == nil || failed == unix.ENOBUFS {
			_, _, failed = unix.Recvfrom(int(fd), g.buf, unix.MSG_DONTWAIT)
		}
		if failed == unix.EAGAIN {
			c.pid, failed = prepare(int(fd))
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return c, nil
}

// prepare asks for the kernel's own words, without the request in them, and returns the
// socket's number.
func prepare(fd int) (pid uint32, err error) {
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)); err != nil {
		return 0, err
	}
	for {
		name, err := unix.Getsockname(fd)
		at, ok := name.(*unix.SockaddrNetlink)
		switch {
		case err != nil:
			return 0, err
		case !ok:
			return 0, errors.New("the socket is not one of netlink")
		case at.Pid != 0:
			return at.Pid, nil
		}
		// It has its number only once it is bound.
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return 0, err
		}
	}
}

// Send sends one request.
func (g *given) Send(req *nl.NetlinkRequest) error {
	message := req.Serialize()
	return g.wait(g.file.SetWriteDeadline, g.raw.Write, func(fd int) error {
		return unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	})
}

// Receive waits for the next datagram.
func (g *given) Receive() (all []syscall.NetlinkMessage, from *unix.SockaddrNetlink, err error) {
	n := 0
	err = g.wait(g.file.SetReadDeadline, g.raw.Read, func(fd int) error {
		var sender unix.Sockaddr
		var err error
		n, sender, err = unix.Recvfrom(fd, g.buf, 0)
		from, _ = sender.(*unix.SockaddrNetlink)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if from == nil {
		return nil, nil, errors.New("netlink: an answer from nobody")
	}
	// The caller keeps what it gets.
	all, err = syscall.ParseNetlinkMessage(append([]byte(nil), g.buf[:n]...))
	return all, from, err
}

// wait does what would block once it does not.
func (g *given) wait(deadline func(time.Time) error, ready func(func(uintptr) bool) error, do func(fd int) error) error {
	if err := deadline(time.Now().Add(netlinkTime)); err != nil {
		return err
	}
	var done error
	err := ready(func(fd uintptr) bool {
		done = do(int(fd))
		return done != unix.EAGAIN && done != unix.EINTR
	})
	if err != nil {
		return err
	}
	return done
}

// Close leaves the socket to its owner.
func (g *given) Close() {}

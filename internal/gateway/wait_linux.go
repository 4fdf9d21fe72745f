package gateway

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway/shim"
)

// awaitEnd waits until a child has ended, and leaves it to be collected. Since Linux 5.10
// the runtime's poller waits; before, a system call does.
func awaitEnd(pid int) {
	const ended = unix.WEXITED | unix.WNOWAIT
	if fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK); err == nil {
		f := os.NewFile(uintptr(fd), "pidfd")
		defer f.Close()
		var info unix.Siginfo
		try := func(uintptr) bool {
			err := unix.Waitid(unix.P_PID, pid, &info, ended|unix.WNOHANG, nil)
			return err != nil || info.Signo != 0 // or there is none to wait for
		}
		if c, err := f.SyscallConn(); err == nil && c.Read(try) == nil {
			return
		}
	}
	for unix.Waitid(unix.P_PID, pid, nil, ended, nil) == unix.EINTR {
	}
}

// polled lets the runtime's poller wait for a line. The file has a copy of the descriptor:
// the line has its own, and closes it.
func polled(l *shim.Line) (*os.File, error) {
	var f *os.File
	err := l.Wait(func(fd int) (reads, writes shim.Until, err error) {
		if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			return nil, nil, os.NewSyscallError("fcntl", err)
		}
		if err = unix.SetNonblock(fd, true); err != nil {
			_ = unix.Close(fd)
			return nil, nil, os.NewSyscallError("fcntl", err)
		}
		f = os.NewFile(uintptr(fd), "line")
		c, err := f.SyscallConn()
		if err != nil {
			return nil, nil, err
		}
		on := func(wait func(func(uintptr) bool) error) shim.Until {
			return func(try func() bool) error { return wait(func(uintptr) bool { return try() }) }
		}
		return on(c.Read), on(c.Write), nil
	})
	return f, err
}

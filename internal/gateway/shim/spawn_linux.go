package shim

import (
	"strconv"
	"syscall"
)

// Spawned is a shim, seen from its parent. It waits for its order.
type Spawned struct {
	PID           int
	Line          *Line
	Inherited     []int // the descriptors that it has got besides the standard streams
	UserNamespace bool  // it has one: its parent has no power
	TimerSlack    int   // this process's own, ns, for the command
	NamespaceFD   int   // a number that it keeps free for the gateway's namespace; the next is the command's

	orders int // the pipe's end on which orders are written
}

// Spawn executes this program as a shim in new namespaces. streams are to be its
// standard streams, and the command's; dir is where it starts, "" for here.
func Spawn(dir string, streams [3]uintptr) (*Spawned, error) {
	s := &Spawned{Inherited: inherited(), UserNamespace: Powers() != nil}
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC); err != nil {
		return nil, at("pipe2", err)
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		_, _ = syscall.Close(pipe[0]), syscall.Close(pipe[1])
		return nil, at("socketpair", err)
	}
	s.Line, s.orders = NewLine(pair[0]), pipe[1]

	// The shim gets what this process has inherited, each under its own number
	// (make's job server, a service manager's sockets), then the order, the line to
	// this process, and two numbers that are to be its own.
	attr := &syscall.ProcAttr{Dir: dir, Files: sameFiles(s.Inherited), Sys: &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		Setpgid:    true, // so that the terminal's signals reach the command alone
	}}
	copy(attr.Files, streams[:])
	orderFD := len(attr.Files)
	lineFD := orderFD + 1
	s.NamespaceFD = orderFD + 2
	// The last two keep those numbers free of what the shim opens, until they are that.
	attr.Files = append(attr.Files, uintptr(pipe[0]), uintptr(pair[1]), uintptr(pipe[0]), uintptr(pipe[0]))
	attr.Env = environ(lineFD, orderFD)
	if s.UserNamespace {
		attr.Sys.Cloneflags |= syscall.CLONE_NEWUSER
		uid, gid := syscall.Geteuid(), syscall.Getegid()
		attr.Sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.Sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		attr.Sys.AmbientCaps = builders
	}
	s.TimerSlack, err = withSlack(func() error {
		s.PID, err = syscall.ForkExec("/proc/self/exe", []string{Name}, attr)
		return err
	})
	_, _ = syscall.Close(pair[1]), syscall.Close(pipe[0])
	if err != nil {
		s.Line.Close()
		_ = syscall.Close(s.orders)
		return nil, at("execute itself in new namespaces", err)
	}
	return s, nil
}

// Tell announces an order or a command, and then writes it: a pipe does not hold one
// of any length. That the shim is gone is no error: it is seen later, with what it said.
func (s *Spawned) Tell(kind Kind, b []byte) error {
	err := s.Line.Send(Note{Kind: kind, Number: len(b)})
	for err == nil && len(b) > 0 {
		var n int
		if n, err = syscall.Write(s.orders, b); err == syscall.EINTR {
			err = nil
			continue
		}
		b = b[max(n, 0):]
	}
	if err == syscall.EPIPE {
		return nil
	}
	return at("write the order", err)
}

// Told says that there are no more orders.
func (s *Spawned) Told() { _ = syscall.Close(s.orders) }

// Drop ends a shim that was told nothing, or not all.
func (s *Spawned) Drop() {
	s.Told()
	s.End()
}

// End ends a shim that runs nothing yet: it does when its line breaks.
func (s *Spawned) End() {
	s.Line.Close()
	for {
		if _, err := syscall.Wait4(s.PID, nil, 0, nil); err != syscall.EINTR {
			return
		}
	}
}

// inherited returns the descriptors above the standard streams that whoever
// started this process meant its programs to have. Go's own close on exec.
func inherited() (all []int) {
	for _, name := range names("/proc/self/fd") {
		fd, err := strconv.Atoi(name)
		if err != nil || fd < 3 || fd > 255 {
			continue
		}
		flags, _, no := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
		if no != 0 || flags&syscall.FD_CLOEXEC != 0 {
			continue
		}
		i := len(all) // in their order
		for all = append(all, fd); i > 0 && all[i-1] > fd; i-- {
			all[i], all[i-1] = all[i-1], all[i]
		}
	}
	return all
}

package gateway

import (
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway/nat"
)

// grace is how long what is left has between SIGTERM and SIGKILL.
const grace = 2 * time.Second

// supervisor watches over the command and all its descendants, who come to be
// its children when their own parent ends (it is a subreaper).
type supervisor struct {
	parent    *line
	namespace int // the command's network namespace
	command   int

	mu    sync.Mutex // between reaping the command and sending it a signal
	ended bool

	reaped chan struct{} // something was reaped
	finish chan struct{} // closed when all that is left is to end
}

// run executes the command when the parent says so, and returns when nothing of
// it is left, after the parent has asked for the end or is gone itself.
func (s *shimProcess) run() {
	if n, _, err := s.parent.receive(); err != nil || n.Kind != tellsGo {
		return
	}
	v := &supervisor{parent: s.parent, namespace: s.namespace, reaped: make(chan struct{}, 1), finish: make(chan struct{})}
	keepSignals()
	pid, err := s.execute()
	if err != nil {
		n := failure("", err)
		n.Kind = saysNotRun
		_ = s.parent.send(n)
		return
	}
	v.command = pid
	s.forgetStreams()
	_ = s.parent.send(note{Kind: saysRuns, Number: pid})
	go v.listen()
	v.reap()
}

// keepSignals makes signals do nothing. This process is in a group of its own,
// so none comes from the terminal. One that was ignored stays so: the command
// inherits that. The others are caught and not ignored, so that it does not.
func keepSignals() {
	var caught []os.Signal
	for _, n := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU} {
		if !signal.Ignored(n) {
			caught = append(caught, n)
		}
	}
	signal.Notify(make(chan os.Signal, 1), caught...)
}

// execute starts the command without any power that it would not have outside.
func (s *shimProcess) execute() (pid int, err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, os.NewSyscallError("prctl subreaper", err)
	}
	if s.order.UserNamespace {
		if err := dropInherited(); err != nil {
			return 0, err
		}
	}
	attr := &syscall.ProcAttr{
		Env: s.order.Env,
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	if s.order.Group != 0 {
		attr.Sys.Setpgid, attr.Sys.Pgid = true, s.order.Group
	}
	attr.Files = sameFiles(s.order.Inherited)
	pid, err = syscall.ForkExec(s.order.Path, s.order.Argv, attr)
	if err == syscall.ENOEXEC { // a script without a first line that says of what
		argv := append([]string{"/bin/sh", s.order.Path}, s.order.Argv[1:]...)
		pid, err = syscall.ForkExec(argv[0], argv, attr)
	}
	return pid, err
}

// sameFiles lists standard streams and further descriptors for a child that gets
// each under its own number.
func sameFiles(further []int) []uintptr {
	files := []uintptr{0, 1, 2}
	for _, fd := range further {
		for len(files) < fd {
			files = append(files, ^uintptr(0)) // closed
		}
		files = append(files, uintptr(fd))
	}
	return files
}

// dropInherited takes from this thread what a program that it executes would
// inherit. The thread's own capabilities stay.
func dropInherited() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl ambient", err)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	return os.NewSyscallError("capset", unix.Capset(&head, &data[0]))
}

// forgetStreams lets go of the command's descriptors, so that whoever reads its
// output sees the end when the command ends.
func (s *shimProcess) forgetStreams() {
	if null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		for fd := range 3 {
			_ = unix.Dup3(null, fd, 0)
		}
		_ = unix.Close(null)
	}
	for _, fd := range s.order.Inherited {
		_ = unix.Close(fd)
	}
}

// reap collects what has ended, reports the command, and returns when nothing is
// left and nothing more is to come.
func (v *supervisor) reap() {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		switch err {
		case nil:
		case unix.EINTR:
			continue
		default: // ECHILD: no descendant is left
			<-v.finish
			return
		}
		v.collect()
		select {
		case v.reaped <- struct{}{}:
		default:
		}
	}
}

// collect reaps one child that has ended.
func (v *supervisor) collect() {
	v.mu.Lock()
	var status unix.WaitStatus
	pid, err := unix.Wait4(-1, &status, 0, nil)
	if pid == v.command && err == nil {
		v.ended = true
	}
	v.mu.Unlock()
	if pid == v.command && err == nil {
		_ = v.parent.send(note{Kind: saysEnded, Number: int(status)})
	}
}

// listen does what the parent says, until it is gone. Its owner is run. Its
// thread is in the command's network namespace: sockets are made there.
func (v *supervisor) listen() {
	runtime.LockOSThread()
	socketErr := unix.Setns(v.namespace, unix.CLONE_NEWNET)
	for {
		n, _, err := v.parent.receive()
		switch {
		case err != nil && err != io.EOF:
			continue // a message that cannot be read is none
		case err == io.EOF:
			v.endAll(0)
			return
		case n.Kind == tellsEnd:
			v.endAll(grace)
			return
		case n.Kind == tellsSignal:
			v.mu.Lock()
			if !v.ended {
				_ = unix.Kill(v.command, unix.Signal(n.Number))
			}
			v.mu.Unlock()
		case n.Kind == tellsSocket:
			v.giveSocket(n.Number, socketErr)
		}
	}
}

// giveSocket opens a TCP socket in the command's namespace for the parent.
func (v *supervisor) giveSocket(family int, err error) {
	var fd int
	if err == nil {
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	}
	if err == nil {
		defer func() { _ = unix.Close(fd) }()
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, nat.MarkOwn)
	}
	if err != nil {
		n := failure("", err)
		n.Kind = saysSocket
		_ = v.parent.send(n)
		return
	}
	_ = v.parent.send(note{Kind: saysSocket}, fd)
}

// endAll ends every descendant; the process ends when reap has seen the last.
func (v *supervisor) endAll(grace time.Duration) {
	close(v.finish)
	own := os.Getpid()
	if grace > 0 {
		for _, pid := range descendants(own) {
			_ = unix.Kill(pid, unix.SIGTERM)
			_ = unix.Kill(pid, unix.SIGCONT)
		}
	}
	over := time.After(grace)
	for waiting := grace > 0; waiting; {
		select {
		case <-over:
			waiting = false
		case <-v.reaped: // perhaps the last: then this process ends
		}
	}
	// A child of what was killed becomes ours, and its turn comes.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, pid := range descendants(own) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		select {
		case <-tick.C:
		case <-v.reaped:
		}
	}
}

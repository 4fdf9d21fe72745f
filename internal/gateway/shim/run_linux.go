package shim

import (
	"sync"
	"syscall"
	"time"
)

// Grace is how long what is left has between SIGTERM and SIGKILL.
const Grace = 2 * time.Second

// supervisor watches over the command and all its descendants, who come to be
// its children when their own parent ends (it is a subreaper).
type supervisor struct {
	parent  *Line
	command int
	mark    int // of the sockets that it gives away

	mu    sync.Mutex // between reaping the command and sending it a signal
	ended bool

	reaped chan struct{} // something was reaped
}

// run executes the command when the parent says so. The process ends when nothing
// of it is left, after the parent has asked for the end or is gone itself.
func (p *process) run() {
	if n, _, err := p.parent.Receive(); err != nil || n.Kind != TellsGo {
		return
	}
	v := &supervisor{parent: p.parent, mark: p.order.Mark, reaped: make(chan struct{}, 1)}
	pid, err := p.execute()
	if err != nil {
		n := failure(err)
		n.Kind = SaysNotRun
		_ = p.parent.Send(n)
		return
	}
	v.command = pid
	ignoreSignals()
	p.forgetStreams()
	_ = p.parent.Send(Note{Kind: SaysRuns, Number: pid})
	go func() { // ends the process
		v.reap()
		syscall.Exit(0)
	}()
	v.listen()
}

// execute starts the command without any power that it would not have outside.
func (p *process) execute() (pid int, err error) {
	if err := prctl(prSetChildSubreaper, 1); err != nil {
		return 0, at("prctl subreaper", err)
	}
	if p.order.UserNamespace {
		if err := dropInherited(); err != nil {
			return 0, err
		}
	}
	_ = prctl(prSetTimerSlack, uintptr(p.order.TimerSlack)) // of what this thread begins, too
	attr := &syscall.ProcAttr{
		Env: p.command.Env,
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	if p.command.Group != 0 {
		attr.Sys.Setpgid, attr.Sys.Pgid = true, p.command.Group
	}
	attr.Files = sameFiles(p.order.Inherited)
	pid, err = syscall.ForkExec(p.command.Path, p.command.Argv, attr)
	if err == syscall.ENOEXEC { // a script without a first line that says of what
		argv := append([]string{"/bin/sh", p.command.Path}, p.command.Argv[1:]...)
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
	if err := prctl(prCapAmbient, prCapAmbientClearAll); err != nil {
		return at("prctl ambient", err)
	}
	var c capabilities
	if err := c.get(); err != nil {
		return at("capget", err)
	}
	c[0].inheritable, c[1].inheritable = 0, 0
	return at("capset", c.set())
}

// forgetStreams lets go of the command's descriptors, so that whoever reads its
// output sees the end when the command ends.
func (p *process) forgetStreams() {
	if null, err := syscall.Open("/dev/null", syscall.O_RDWR|syscall.O_CLOEXEC, 0); err == nil {
		for fd := range 3 {
			_ = syscall.Dup3(null, fd, 0)
		}
		_ = syscall.Close(null)
	}
	for _, fd := range p.order.Inherited {
		_ = syscall.Close(fd)
	}
}

// reap collects what has ended, reports the command, and returns when nothing is left:
// no descendant of the command is outside of this process's children then, and there is
// nothing more to do, whether the parent has asked for the end or not.
func (v *supervisor) reap() {
	for {
		switch awaitEnded() {
		case nil:
		case syscall.EINTR:
			continue
		default: // ECHILD: no descendant is left
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
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &status, 0, nil)
	if pid == v.command && err == nil {
		v.ended = true
	}
	v.mu.Unlock()
	if pid == v.command && err == nil {
		_ = v.parent.Send(Note{Kind: SaysEnded, Number: int(status)})
	}
}

// listen does what the parent says, until it is gone, and does not return. It is
// on the process's first thread, which is in the command's network namespace:
// sockets are made there.
func (v *supervisor) listen() {
	for {
		n, _, err := v.parent.Receive()
		switch {
		case err != nil && err != ErrGone:
			continue // a message that cannot be read is none
		case err == ErrGone:
			v.endAll(0)
			return
		case n.Kind == TellsEnd:
			v.endAll(Grace)
			return
		case n.Kind == TellsSignal:
			v.mu.Lock()
			if !v.ended {
				_ = syscall.Kill(v.command, syscall.Signal(n.Number))
			}
			v.mu.Unlock()
		case n.Kind == TellsSocket:
			v.giveSocket(n.Number)
		}
	}
}

// giveSocket opens a TCP socket in the command's namespace for the parent.
func (v *supervisor) giveSocket(family int) {
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		defer func() { _ = syscall.Close(fd) }()
		err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_MARK, v.mark)
	}
	if err != nil {
		n := failure(err)
		n.Kind = SaysSocket
		_ = v.parent.Send(n)
		return
	}
	_ = v.parent.Send(Note{Kind: SaysSocket}, fd)
}

// endAll ends every descendant and does not return: the process ends when reap has
// seen the last.
func (v *supervisor) endAll(grace time.Duration) {
	own := syscall.Getpid()
	if grace > 0 {
		for _, pid := range descendants(own) {
			_ = syscall.Kill(pid, syscall.SIGTERM)
			_ = syscall.Kill(pid, syscall.SIGCONT)
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
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-tick.C:
		case <-v.reaped:
		}
	}
}

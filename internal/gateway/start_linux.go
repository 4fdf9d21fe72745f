package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func start(ctx context.Context, o Options) (*Gateway, error) {
	if len(o.Argv) == 0 {
		return nil, &CommandError{Code: 127, Err: errors.New("no command")}
	}
	env := o.Env
	if env == nil {
		env = os.Environ()
	}
	path, err := lookUp(o.Argv[0], o.Dir, env)
	if err != nil {
		return nil, err
	}
	c, err := open(ctx, &o, order{Path: path, Argv: o.Argv, Env: env}, nil)
	if err != nil {
		return nil, err
	}
	g := &Gateway{c: c}
	if o.Ready != nil {
		err = o.Ready(g)
	}
	if err == nil {
		err = c.runCommand(o.Argv[0])
	}
	if err != nil {
		_ = c.close()
		return nil, err
	}
	return g, nil
}

// open spawns the shim, lets it build, and serves what it hands over. The
// command does not run yet. progress hears of each step, if it is not nil.
func open(ctx context.Context, o *Options, what order, progress func(note)) (*capture, error) {
	files, contents := covers(o.Files)
	what.Files = files
	what.IPv6 = !o.NoIPv6
	what.AskAlways = o.Admission != nil
	what.Group = unix.Getpgrp()
	what.Inherited = inherited()
	what.UserNamespace = !privileged()

	pid, parent, err := spawn(o, what, contents)
	if err != nil {
		return nil, explain(StepStart, err, what.UserNamespace)
	}
	c := newCapture(pid, parent, o)
	stop := context.AfterFunc(ctx, c.kill)
	c.stopWatching = stop
	if err := c.receiveSockets(what.UserNamespace, progress); err != nil {
		_ = c.close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	if err := c.serve(o); err != nil {
		_ = c.close()
		return nil, err
	}
	return c, nil
}

// spawn executes this program as a shim in new namespaces.
func spawn(o *Options, what order, contents [][]byte) (pid int, parent *line, err error) {
	encoded, err := what.encode(contents)
	if err != nil {
		return 0, nil, err
	}
	memory, err := unix.MemfdCreate("understudy", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(memory), "order")
	defer file.Close()
	if _, err := file.Write(encoded); err != nil {
		return 0, nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, os.NewSyscallError("socketpair", err)
	}
	defer func() { _ = unix.Close(pair[1]) }()

	// The shim gets what this process has inherited, each under its own number
	// (make's job server, a service manager's sockets), then the order and its
	// line to this process.
	attr := &syscall.ProcAttr{Dir: o.Dir, Files: sameFiles(what.Inherited), Sys: &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		Setpgid:    true, // so that the terminal's signals reach the command alone
	}}
	for i, f := range []*os.File{o.Stdin, o.Stdout, o.Stderr} {
		if f != nil {
			attr.Files[i] = f.Fd()
		}
	}
	orderFD := len(attr.Files)
	attr.Files = append(attr.Files, file.Fd(), uintptr(pair[1]))
	// Collecting garbage would cost the shim more than the little it makes.
	attr.Env = []string{"GOGC=off", "GOMAXPROCS=2"}
	if what.UserNamespace {
		attr.Sys.Cloneflags |= syscall.CLONE_NEWUSER
		uid, gid := os.Geteuid(), os.Getegid()
		attr.Sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.Sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		attr.Sys.AmbientCaps = builders
	}
	argv := []string{shimName, fmt.Sprint(orderFD + 1), fmt.Sprint(orderFD)}
	pid, err = syscall.ForkExec("/proc/self/exe", argv, attr)
	if err != nil {
		_ = unix.Close(pair[0])
		return 0, nil, fmt.Errorf("execute itself in new namespaces: %w", err)
	}
	return pid, &line{fd: pair[0]}, nil
}

// privileged reports whether namespaces can be had without a user namespace.
func privileged() bool { return powers() == nil }

// inherited returns the descriptors above the standard streams that whoever
// started this process meant its programs to have. Go's own close on exec.
func inherited() (all []int) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err != nil || fd < 3 || fd > 255 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			all = append(all, fd)
		}
	}
	slices.Sort(all)
	return all
}

// lookUp finds a program as a shell does: in the command's own PATH, and from
// its directory.
func lookUp(name, dir string, env []string) (string, error) {
	notFound := &CommandError{Name: name, Code: 127, Err: errors.New("not found")}
	if strings.Contains(name, "/") {
		path := name
		if dir != "" && !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		switch err := executable(path); {
		case err == nil:
			return name, nil
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
			return "", notFound
		default:
			return "", &CommandError{Name: name, Code: 126, Err: err}
		}
	}
	search := ""
	for _, e := range env { // the last one counts, as it does for exec
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			search = value
		}
	}
	var denied error
	for _, in := range filepath.SplitList(search) {
		path := filepath.Join(in, name)
		if !filepath.IsAbs(path) {
			path = "./" + path
		}
		from := path
		if dir != "" && !filepath.IsAbs(path) {
			from = filepath.Join(dir, path)
		}
		err := executable(from)
		if err == nil {
			return path, nil
		}
		// A directory that may not be searched is passed over; a file that is there
		// and may not be executed is said.
		if failed, ok := errors.AsType[*fs.PathError](err); ok && failed.Op == "exec" && denied == nil {
			denied = err
		}
	}
	if denied != nil {
		return "", &CommandError{Name: name, Code: 126, Err: denied}
	}
	return "", notFound
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return &fs.PathError{Op: "exec", Path: path, Err: syscall.EISDIR}
	}
	if err := unix.Access(path, unix.X_OK); err != nil {
		return &fs.PathError{Op: "exec", Path: path, Err: err}
	}
	return nil
}

var errShimGone = errors.New("the process that builds the namespaces was killed")

// receiveSockets waits until the shim has built all.
func (c *capture) receiveSockets(user bool, progress func(note)) error {
	for {
		n, fds, err := c.parent.receive()
		switch {
		case err == io.EOF:
			return &StepError{Step: StepStart, Err: errShimGone}
		case err != nil:
			return &StepError{Step: StepHand, Err: err}
		}
		switch n.Kind {
		case saysStep:
			if progress != nil {
				progress(n)
			}
		case saysFailed:
			err := error(errText(n.Text))
			if n.Errno != 0 {
				err = &shimError{n.Text, syscall.Errno(n.Errno)}
			}
			return explain(n.Step, err, user)
		case saysSockets:
			return c.take(n, fds)
		}
	}
}

// errText is an error that has come as text.
type errText string

func (e errText) Error() string { return string(e) }

// shimError is an error of the shim's: its text, and its number for errors.Is.
type shimError struct {
	text string
	no   syscall.Errno
}

func (e *shimError) Error() string { return e.text }

func (e *shimError) Unwrap() error { return e.no }

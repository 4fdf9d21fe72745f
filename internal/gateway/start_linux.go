package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway/shim"
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
	c, err := open(ctx, &o, shim.Command{Path: path, Argv: o.Argv, Env: env}, nil)
	if err != nil {
		return nil, err
	}
	g := &Gateway{c: c}
	if o.Ready != nil {
		err = o.Ready(g)
	}
	if err == nil {
		err = context.Cause(ctx) // who kills for it may not have come to it yet
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

// open lets a shim build, and serves what it hands over. The command does not run
// yet. progress hears of each step, if it is not nil.
func open(ctx context.Context, o *Options, what shim.Command, progress func(Step)) (*capture, error) {
	what.Group = unix.Getpgrp()
	what.Covers, what.Contents = covers(o.Files)
	a := o.Ahead
	if a == nil || a.order.AskOutside != (o.Admission != nil) || a.order.Carry != o.Carry || a.order.Probes != o.Probes {
		a.Close()
		a = begin(o, o.Admission != nil, progress != nil)
	}
	err := a.tell(&what)
	user := a.order.UserNamespace
	if err != nil {
		return nil, explain(StepStart, err, user)
	}
	c := newCapture(a.spawned.PID, a.spawned.Line, o)
	c.stopWatching = context.AfterFunc(ctx, c.killCommand)
	if err := c.receiveSockets(user, progress); err != nil {
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

// hasIPv6 reports whether the kernel has IPv6.
func hasIPv6() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return err == nil
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
func (c *capture) receiveSockets(user bool, progress func(Step)) error {
	for {
		n, fds, err := c.parent.Receive()
		switch {
		case err == shim.ErrGone:
			return &StepError{Step: StepStart, Err: errShimGone}
		case err != nil:
			return &StepError{Step: StepHand, Err: err}
		}
		switch n.Kind {
		case shim.SaysStep:
			if progress != nil {
				progress(Step(n.Step))
			}
		case shim.SaysFailed:
			return explain(Step(n.Step), shimFailed(n), user)
		case shim.SaysSockets:
			return c.take(n, fds)
		}
	}
}

// shimFailed is an error that a note tells of: its text, and its number for errors.Is.
func shimFailed(n shim.Note) error {
	text := n.Text
	if n.Number != 0 {
		text += fmt.Sprintf(" (message %d)", n.Number)
	}
	return &shimError{text, syscall.Errno(n.Errno)}
}

type shimError struct {
	text string
	no   syscall.Errno
}

func (e *shimError) Error() string { return e.text }

func (e *shimError) Unwrap() error {
	if e.no == 0 {
		return nil
	}
	return e.no
}

package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
)

// Command is the program that a run captures.
type Command struct {
	Args   []string // the program and its arguments; never empty
	Env    []string // additions, NAME=value
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

// Run runs the command to its end and returns its exit code: its own, 128+n for
// a signal, 127 where it was not found, 126 where it could not be run; err says
// why in the last two cases. SIGTERM and SIGHUP are passed to it; SIGINT and SIGQUIT,
// which a terminal sends to all, are left to it. When ctx ends it is killed.
func (c *Command) Run(ctx context.Context) (int, error) {
	path, code, err := lookUp(c.Args[0])
	if err != nil {
		return code, err
	}
	cmd := exec.CommandContext(ctx, path, c.Args[1:]...)
	cmd.Args[0] = c.Args[0]
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr

	signals := catchSignals()
	if err := cmd.Start(); err != nil {
		signals.stop()
		return ExitNotRun, fmt.Errorf("run %s: %w", c.Args[0], err)
	}
	signals.pass(cmd.Process.Signal)
	err = cmd.Wait()
	signals.stop()
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return 0, nil
	case !ok:
		return ExitNotRun, fmt.Errorf("run %s: %w", c.Args[0], err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// commandSignals are the signals that are a command's affair.
type commandSignals struct {
	caught  chan os.Signal
	done    chan struct{}
	passing sync.WaitGroup
}

// catchSignals keeps signals from ending this process, from before the command
// starts.
func catchSignals() *commandSignals {
	s := &commandSignals{caught: make(chan os.Signal, 8), done: make(chan struct{})}
	signal.Notify(s.caught, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	return s
}

// pass gives the command what is sent to this process alone; a terminal sends
// SIGINT and SIGQUIT to all. It is called once at most.
func (s *commandSignals) pass(to func(os.Signal) error) {
	s.passing.Go(func() { // ends with stop
		for {
			select {
			case n := <-s.caught:
				if n == syscall.SIGTERM || n == syscall.SIGHUP {
					_ = to(n) // the command may have ended
				}
			case <-s.done:
				return
			}
		}
	})
}

// stop gives the signals their usual meaning back.
func (s *commandSignals) stop() {
	signal.Stop(s.caught)
	close(s.done)
	s.passing.Wait()
}

// lookUp finds a program as a shell does. The code is for the error, if there is one.
func lookUp(name string) (path string, code int, err error) {
	path, err = exec.LookPath(name)
	switch {
	case err == nil:
		return path, ExitOK, nil
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist):
		return "", ExitNotFound, fmt.Errorf("run %s: not found", name)
	}
	return "", ExitNotRun, fmt.Errorf("run %s: %w", name, err)
}

package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
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

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return ExitNotRun, fmt.Errorf("run %s: %w", c.Args[0], err)
	}
	done := make(chan struct{})
	passed := make(chan struct{})
	go func() { // ends when the command has
		defer close(passed)
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGTERM || s == syscall.SIGHUP {
					_ = cmd.Process.Signal(s)
				}
			case <-done:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(done)
	<-passed
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

package app

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Self is another run of this program, started with --json: what the gate and
// the demo measure and show is the program that the user has.
type Self struct {
	cmd    *exec.Cmd
	stderr lockedBuffer
	mu     sync.Mutex
	events []map[string]any
	more   chan struct{} // signals a new event; closed at the end of the events
}

// StartSelf runs this program with args and returns once it says that it
// listens. It is ended by Stop, or killed when ctx ends.
func StartSelf(ctx context.Context, args ...string) (*Self, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return startProgram(ctx, program{exe, exe}, nil, args...)
}

// program is an executable file, and what it is called.
type program struct{ file, name string }

// startProgram is StartSelf with another build of this program, and with an
// environment of its own where env is not nil.
func startProgram(ctx context.Context, p program, env []string, args ...string) (*Self, error) {
	s := &Self{cmd: exec.CommandContext(ctx, p.file, append(args, "--json")...), more: make(chan struct{}, 64)}
	s.cmd.Args[0] = p.name
	s.cmd.Env = env
	s.cmd.Stderr = &s.stderr
	s.cmd.WaitDelay = 5 * time.Second
	dieWithParent(s.cmd)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		if of, ok := errors.AsType[*os.PathError](err); ok {
			err = of.Err // the file may be another than is meant
		}
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() { // ends with the process's standard output
		defer close(s.more)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var e map[string]any
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue
			}
			s.mu.Lock()
			s.events = append(s.events, e)
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default: // whoever waits will look at all there is
			}
		}
	}()
	patience, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if _, err := s.Wait(patience, "seed"); err != nil { // the last one at the start
		late, grace := patience.Err() != nil, time.Duration(0)
		if !late {
			grace = time.Second // it has said its last, and is about to end
		}
		kill := time.AfterFunc(grace, func() { _ = s.cmd.Process.Kill() })
		_ = s.cmd.Wait()
		kill.Stop()
		switch { // only now all that it said is there
		case ctx.Err() != nil:
			return nil, err
		case late:
			return nil, fmt.Errorf("%s: want it to listen within %s, it said: %s", s.called(), startWithin, s.said())
		}
		return nil, s.endedEarly(s.cmd.ProcessState)
	}
	return s, nil
}

// startWithin is how long a run may take until it listens. Tests shorten it.
var startWithin = time.Minute

// PID is its process.
func (s *Self) PID() int { return s.cmd.Process.Pid }

// Event returns the first event of a kind that it has told so far.
func (s *Self) Event(kind string) (map[string]any, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e["event"] == kind {
			return e, true
		}
	}
	return nil, false
}

// Wait returns the first event of a kind, once it is there. It fails when the
// program ends without it.
func (s *Self) Wait(ctx context.Context, kind string) (map[string]any, error) {
	for {
		if e, ok := s.Event(kind); ok {
			return e, nil
		}
		select {
		case _, open := <-s.more:
			if e, ok := s.Event(kind); ok {
				return e, nil
			}
			if !open {
				return nil, s.endedEarly(nil)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// endedEarly names the program and what came of it; how is nil for unknown.
func (s *Self) endedEarly(how *os.ProcessState) error {
	if how != nil {
		return fmt.Errorf("%s: ended early, with %s: %s", s.called(), how, s.said())
	}
	return fmt.Errorf("%s: ended early: %s", s.called(), s.said())
}

func (s *Self) called() string { return strings.Join(s.cmd.Args, " ") }

func (s *Self) said() string {
	return cmp.Or(strings.TrimSpace(s.stderr.String()), "nothing on standard error")
}

// Address is where its first listener of a kind ("forward", "reverse", "tcp") is.
func (s *Self) Address(kind string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e["event"] == "listening" && e["kind"] == kind {
			addr, _ := e["address"].(string)
			return addr
		}
	}
	return ""
}

// Stop drains it and returns its exit code.
func (s *Self) Stop() (int, error) {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	for range s.more { // the events' end comes before the process's
	}
	err := s.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() >= 0 {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// Stderr is what it said so far on standard error.
func (s *Self) Stderr() string { return s.stderr.String() }

// lockedBuffer is a buffer that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

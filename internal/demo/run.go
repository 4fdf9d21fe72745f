package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// dependency is how payments is called; nothing of that name needs to exist.
const dependency = "http://payments"

// ledger is the part of a run's report that the tour tells of.
type ledger struct {
	Ledger struct {
		Exchanges struct {
			Count   int
			Sources map[string]int
			Own     time.Duration `json:"own_ns"`
		}
		Recording struct {
			Recorded int
			Lost     map[string]int
		}
		Rules []Fired
	}
}

// own is understudy's own part of an exchange, on average, in microseconds.
func (l *ledger) own() float64 {
	e := l.Ledger.Exchanges
	if e.Count == 0 {
		return 0
	}
	return float64(e.Own.Nanoseconds()) / float64(e.Count) / 1e3
}

// serve runs understudy with args, shown as they are, calls during with the URL of
// its reverse door, and ends it. It returns what the run reports at its end.
func (t *tour) serve(ctx context.Context, args []string, during func(p Process, url string) error) (*ledger, int, error) {
	hidden := []string{"--admin", "off", "--log-level", "warn", "--set", "intercept.ca_dir=" + filepath.Join(t.home, "ca")}
	p, err := t.Start(ctx, append(args, hidden...)...)
	if err != nil {
		return nil, 0, err
	}
	err = during(p, p.Address("reverse"))
	code, stopErr := p.Stop()
	if err = errors.Join(err, stopErr); err != nil {
		return nil, code, err
	}
	var l ledger
	event, ok := p.Event("report")
	if !ok {
		return nil, code, fmt.Errorf("understudy %s: no report at its end: %s", args[0], strings.TrimSpace(p.Stderr()))
	}
	data, err := json.Marshal(event)
	if err != nil {
		return nil, code, err
	}
	return &l, code, json.Unmarshal(data, &l)
}

// command runs understudy to its end and returns its output and exit code. What
// it leaves, it leaves in home.
func (t *tour) command(ctx context.Context, args ...string) (out []byte, code int, err error) {
	out, _, code, err = t.execute(ctx, append(args, "--json"))
	return out, code, err
}

// execute is command, with args as they are and with what it said beside its output.
func (t *tour) execute(ctx context.Context, args []string) (out, said []byte, code int, err error) {
	cmd := exec.CommandContext(ctx, t.Executable, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.home, "HOME="+t.home, "XDG_CONFIG_HOME="+t.home, "XDG_STATE_HOME="+t.home, "XDG_CACHE_HOME="+t.home)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return stdout.Bytes(), stderr.Bytes(), exit.ExitCode(), nil
	}
	if err != nil {
		return nil, nil, 0, fmt.Errorf("understudy %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), stderr.Bytes(), 0, nil
}

// write puts a file of the tour where it may be kept.
func (t *tour) write(name, text string) (string, error) {
	path := filepath.Join(t.work, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

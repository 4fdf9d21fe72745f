package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/internal/app"
)

// tiny is a session to record and replay once.
var tiny = pace{customers: 8, rounds: 2}

// command is `understudy demo` with a home and a place for temporary files of
// its own, which it must leave empty.
func command(t *testing.T, args ...string) (cmd *exec.Cmd, left func() []string) {
	t.Helper()
	home, temp := t.TempDir(), t.TempDir()
	cmd = exec.CommandContext(t.Context(), program(t), append([]string{"demo", "--short"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+temp, "XDG_CONFIG_HOME=", "XDG_STATE_HOME=",
		"UNDERSTUDY_TIMING=none", "UNDERSTUDY_ON_MISS=forward", // the user's settings must not reach the tour
	)
	return cmd, func() (names []string) {
		for _, dir := range []string{home, temp} {
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				names = append(names, e.Name())
			}
		}
		return names
	}
}

func TestDemo(t *testing.T) {
	keep := filepath.Join(t.TempDir(), "kept")
	cmd, left := command(t, "--json", "--keep", keep)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var r Result
	if jsonErr := json.Unmarshal(out, &r); err != nil || jsonErr != nil {
		t.Fatalf("understudy demo: %v, %v\n%s%s", err, jsonErr, out, stderr.String())
	}
	checks := 13
	if r.Link.Engine == "" { // this machine cannot capture, or was too busy for the link
		checks--
	}
	if !r.OK || len(r.Checks) != checks || len(r.Operations) != 4 || len(r.SameSeed.First) != shortPace.fates || r.Gate.Verdict == "" {
		t.Errorf("result = %s", out)
	}
	if r.Replay.Hits != r.Record.Calls || r.Record.Calls < 30 || len(r.Record.Volatile) != 2 {
		t.Errorf("recorded %+v, replayed %+v, want all of it hit", r.Record, r.Replay)
	}
	if names := left(); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
	if found, err := cassette.Verify(filepath.Join(keep, "payments")); err != nil || len(found) > 0 {
		t.Errorf("kept cassette: %v, %v", found, err)
	}
	for _, c := range app.Check([]string{filepath.Join(keep, "brownout.yaml"), filepath.Join(keep, "flaky.yaml")}) {
		if len(c.Errors) > 0 {
			t.Errorf("kept %s: %v", c.Path, c.Errors)
		}
	}
	// What is kept once is not written over.
	cmd, _ = command(t, "--keep", keep)
	if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != app.ExitSetup || !strings.Contains(string(out), "not empty") {
		t.Errorf("demo --keep again: %v, want exit 125\n%s", err, out)
	}
}

// A signal in the middle of it ends everything, and nothing is left.
func TestDemoInterrupted(t *testing.T) {
	cmd, left := command(t)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`understudy replay -f (\S+)`)
	reached := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if address.MatchString(lines.Text()) && !reached {
			reached = true
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Error(err)
			}
		}
	}
	err = cmd.Wait() // the pipe's end was the last process's
	if code := cmd.ProcessState.ExitCode(); !reached || code != 130 {
		t.Errorf("interrupted demo: exit %d (%v), reached replay %v, want 130", code, err, reached)
	}
	if names := left(); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	tour := newTour(t, 3, tiny)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if r, err := Run(ctx, tour.Options); r != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run = %v, %v, want the context's error", r, err)
	}
}

// The tour can fail: a cassette that says something else is found out.
func TestTamperedCassette(t *testing.T) {
	for _, c := range []struct {
		name, check string
		tamper      func(lines []byte) []byte
	}{
		{"an answer was edited", "same bytes", func(lines []byte) []byte {
			edited := bytes.Replace(lines, []byte(`\"USD\":1.08`), []byte(`\"USD\":1.09`), 1)
			return regexp.MustCompile(`,"crc":"[0-9a-f]{8}"`).ReplaceAll(edited, nil) // as one does by hand
		}},
		{"a request was edited", "hits", func(lines []byte) []byte {
			edited := bytes.ReplaceAll(lines, []byte(`\"card\":\"visa\"`), []byte(`\"card\":\"amex\"`))
			return regexp.MustCompile(`,"crc":"[0-9a-f]{8}"`).ReplaceAll(edited, nil)
		}},
		{"a byte is wrong", "replay", func(lines []byte) []byte {
			return bytes.Replace(lines, []byte(`\"USD\":1.08`), []byte(`\"USD\":1.09`), 1)
		}},
		{"it was cut", "replay", func(lines []byte) []byte { return lines[:len(lines)/2] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			tour := newTour(t, 11, tiny)
			tour.recorded = func(dir string) error {
				file := filepath.Join(dir, cassette.ExchangesFile)
				lines, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				edited := c.tamper(lines)
				if bytes.Equal(edited, lines) {
					t.Fatal("nothing to tamper with")
				}
				return os.WriteFile(file, edited, 0o600)
			}
			if err := tour.record(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := tour.replay(t.Context()); err != nil && !errors.Is(err, errNotShown) {
				t.Fatal(err)
			}
			tour.result.finish(time.Second)
			if got := tour.result.ExitCode(); got != 99 {
				t.Errorf("exit code %d, want 99: %+v", got, tour.result.Checks)
			}
			for _, got := range tour.result.Checks {
				if got.Name == c.check && got.OK {
					t.Errorf("check %q holds: %s", got.Name, got.Note)
				}
			}
		})
	}
}

package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A signal in the middle of it ends what the gate has started, and nothing is left.
func TestGateInterrupted(t *testing.T) {
	for _, test := range []struct {
		name  string
		args  []string
		at    string // the line on the way at which the signal comes
		sig   syscall.Signal
		group bool // as from a terminal: to all that runs
		want  string
	}{
		{"SIGTERM", []string{"--scenario", "tcp"}, "A/A check", syscall.SIGTERM, false, "ended by a signal (terminated)"},
		{"captured", []string{"--scenario", "captured"}, "warming up", syscall.SIGTERM, false, "ended by a signal (terminated)"},
		{"Ctrl-C", []string{"--scenario", "tcp"}, "A/A check", syscall.SIGINT, true, "ended by a signal (interrupt)"},
		{"soak", []string{"--soak", "20s", "--connections", "4"}, "warm up", syscall.SIGTERM, false, "ended by a signal (terminated)"},
		{"soak and Ctrl-C", []string{"--soak", "20s", "--connections", "4"}, "full load", syscall.SIGINT, true, "ended by a signal (interrupt)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			temporary, state := t.TempDir(), t.TempDir()
			held, holds, err := os.Pipe() // all that runs gets holds
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			cmd := exec.Command("understudy", append([]string{"gate"}, test.args...)...)
			cmd.Env = append(os.Environ(), "TMPDIR="+temporary, "XDG_STATE_HOME="+state, "XDG_CONFIG_HOME="+state, "GITHUB_STEP_SUMMARY=")
			cmd.ExtraFiles = []*os.File{holds}
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			said, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = holds.Close()
			to := cmd.Process.Pid
			if test.group {
				to = -to
			}
			var lines []string
			reached := false
			for in := bufio.NewScanner(said); in.Scan(); {
				lines = append(lines, in.Text())
				if !reached && strings.Contains(in.Text(), test.at) {
					reached = true
					if err := syscall.Kill(to, test.sig); err != nil {
						t.Error(err)
					}
				}
			}
			err = cmd.Wait()
			all := strings.Join(lines, "\n")
			if code := cmd.ProcessState.ExitCode(); !reached || code != 128+int(test.sig) {
				t.Errorf("exit %d (%v), reached %q %t, want %d:\n%s", code, err, test.at, reached, 128+int(test.sig), all)
			}
			if last := lines[len(lines)-1]; last != "understudy: gate: "+test.want+" before there was a verdict" || strings.Contains(all, "killed") {
				t.Errorf("said\n%s\nwant as its last line that it was %s, and nothing about what that came to", all, test.want)
			}
			_ = held.SetReadDeadline(time.Now().Add(patience))
			if _, err := held.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("what it started runs on: %v", err)
			}
			for _, pattern := range []string{filepath.Join(temporary, "*"), filepath.Join(state, "*", "admin-*")} {
				if names, err := filepath.Glob(pattern); err != nil || len(names) > 0 {
					t.Errorf("left behind: %q, %v", names, err)
				}
			}
		})
	}
}

// Package umltest runs tests in a kernel of their own: user-mode Linux, which is an
// ordinary process, needs no root, and has what many kernels lack, netem before all.
// It reports what they say as subtests. Where it is not installed it skips, loudly.
//
// The guest sees the host's file system and no network but its own.
package umltest

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// insideEnv is set in the guest, by the name of the directory that both sides share.
const insideEnv = "UNDERSTUDY_INTERNAL_TEST_UML"

// bootTime is what a boot and its tests may take together. A boot takes some 5 s, and
// a host that is busy makes of a second ten.
const bootTime = 8 * time.Minute

//go:embed init.sh
var initScript string

// Inside reports whether this process runs in the guest.
func Inside() bool { return os.Getenv(insideEnv) != "" }

// Guest skips a test that is for the guest alone.
func Guest(t *testing.T) {
	t.Helper()
	if !Inside() {
		t.Skip("runs in user-mode Linux, by TestInUserModeLinux")
	}
}

// Run compiles the tests of the package in the current directory, boots a guest, runs
// there those that match pattern, and reports each as a subtest of t.
func Run(t *testing.T, pattern string) {
	t.Helper()
	if Inside() {
		t.Skip("is in user-mode Linux already")
	}
	for _, need := range []string{"linux.uml", "modprobe", "ip", "tc"} {
		if _, err := lookPath(need); err != nil {
			missing(t, "no "+need+": the tests of real links are NOT run (make deps installs user-mode-linux, kmod and iproute2)")
		}
	}
	if testing.Short() {
		t.Skip("boots a kernel; left out under -short")
	}
	dir := t.TempDir()
	payload := filepath.Join(dir, "payload.test")
	// Not this binary: the race detector cannot run there.
	build := exec.Command("go", "test", "-c", "-o", payload, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("compile the tests: %v\n%s", err, out)
	}
	work, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	script := strings.NewReplacer("@DIR@", quote(dir), "@WORK@", quote(work), "@PATTERN@", quote(pattern), "@ENV@", insideEnv).Replace(initScript)
	if err := os.WriteFile(filepath.Join(dir, "init.sh"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	console := boot(t, dir)
	out, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatalf("the guest did not run the tests: %v\n%s", err, tail(console))
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		t.Errorf("the guest ended before the tests did\n%s\n%s", tail(string(out)), tail(console))
	}
	report(t, string(out))
	if s := strings.TrimSpace(string(status)); s != "0" && !t.Failed() {
		t.Errorf("the tests exited with %q\n%s", s, tail(string(out)))
	}
}

// boot runs the guest to its end and returns what its console said.
func boot(t *testing.T, dir string) string {
	uml, err := lookPath("linux.uml")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, uml, "mem=512M", "rootfstype=hostfs", "rootflags=/", "rw",
		"init="+filepath.Join(dir, "init.sh"), "con=null", "con0=null,fd:1", "uml_dir="+dir)
	// The guest is a group of processes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "TMPDIR="+dir) // where its memory is
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console
	err = cmd.Run()
	if ctx.Err() != nil {
		t.Errorf("the guest did not end within %v", bootTime)
	} else if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatalf("boot: %v\n%s", err, tail(console.String()))
	}
	return console.String()
}

// missing skips, or fails where everything must be there, as in CI.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("UNDERSTUDY_INTERNAL_TEST_ALL") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// lookPath finds administrators' programs for users who have no sbin in their PATH.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	return path, err
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// tail is the end of a long text.
func tail(s string) string { return s[max(0, len(s)-8000):] }

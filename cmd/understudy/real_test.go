package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestReal proves the program as it is built and installed, as a process among
// programs that nobody here wrote. What such a program is needed for is skipped
// where it is missing, and fails there under UNDERSTUDY_INTERNAL_TEST_ALL=1, as CI has it.
//
// Each story is a subtest, so that one binary serves them all. Those that measure
// time come first and alone; the others share the machine.
func TestReal(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program and starts dozens of processes; left out under -short")
	}
	s := newStage(t)
	t.Run("Rhythm", s.testRhythm)
	t.Run("Limits", s.testLimits)
	t.Run("Kill", s.testKill)
	t.Run("Many", s.testMany)
	t.Run("together", func(t *testing.T) {
		for name, story := range map[string]func(*testing.T){
			"Matrix": s.testMatrix, "Wrk": s.testWrk, "Command": s.testCommand,
			"Lossy": s.testLossy, "Start": s.testStart, "BadInput": s.testBadInput, "Differ": s.testDiffer, "Resumption": s.testResumption, "WireMock": s.testWireMock,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				story(t)
			})
		}
	})
}

// stage is where the program plays: the binary, and a home of its own.
type stage struct {
	bin, home string
	caFile    string // understudy's own CA in that home, as PEM
	identity  identity
	user      int // who runs the program; 0 for who runs the test
}

func newStage(t testing.TB) *stage {
	t.Helper()
	dir := t.TempDir()
	s := &stage{bin: filepath.Join(dir, "understudy"), home: dir, caFile: filepath.Join(dir, "ca.pem")}
	build := exec.Command("go", "build", "-o", s.bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	s.identity = newIdentity(t, dir)
	// The first run makes the CA; its forward door hands it out.
	a := s.start(t, "proxy", "--forward", "127.0.0.1:0")
	resp, err := http.Get(a.address(t, "forward", "") + "/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	pem, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET /ca.pem = %d, %v, want the CA's certificate", resp.StatusCode, err)
	}
	if err := os.WriteFile(s.caFile, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	a.stop(t)
	return s
}

// need returns the path of each program. Where one is missing the test is skipped
// or, in CI, fails.
func need(t testing.TB, programs ...string) []string {
	t.Helper()
	var paths []string
	for _, p := range programs {
		path, err := exec.LookPath(p)
		if err != nil {
			path, err = exec.LookPath("/usr/sbin/" + p)
		}
		if err != nil {
			lacking(t, p)
		}
		paths = append(paths, path)
	}
	return paths
}

// lacking ends a test that cannot run here.
func lacking(t testing.TB, what string) {
	t.Helper()
	text := what + " is not on this machine; make deps installs it"
	if os.Getenv("UNDERSTUDY_INTERNAL_TEST_ALL") != "" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// environ is a clean environment: no proxy, nobody's home, none of our variables.
func (s *stage) environ(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name := strings.ToUpper(v[:strings.IndexByte(v, '=')+1])
		return strings.HasPrefix(name, "UNDERSTUDY_") || strings.HasPrefix(name, "XDG_") || strings.HasSuffix(name, "_PROXY=") ||
			slices.Contains([]string{"HOME=", "SSL_CERT_FILE=", "CURL_CA_BUNDLE=", "REQUESTS_CA_BUNDLE=", "NODE_EXTRA_CA_CERTS=", "JAVA_TOOL_OPTIONS="}, name)
	})
	// Python's version managers look into the home for which version to run.
	return append(append(env, "HOME="+s.home, "PYENV_ROOT="+pyenvRoot()), more...)
}

func pyenvRoot() string {
	if root := os.Getenv("PYENV_ROOT"); root != "" {
		return root
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".pyenv")
}

// act is one run of the program.
type act struct {
	cmd    *exec.Cmd
	stderr syncBuffer
	ended  chan struct{}

	mu     sync.Mutex
	events []map[string]any
	more   chan struct{}
}

// start runs understudy and returns once it serves. It is ended with the test.
func (s *stage) start(t testing.TB, args ...string) *act {
	t.Helper()
	a := &act{cmd: exec.Command(s.bin, append(args, "--json")...), ended: make(chan struct{}), more: make(chan struct{}, 1)}
	a.cmd.Env = s.environ()
	if s.user != 0 {
		id := uint32(s.user)
		a.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
		a.cmd.Dir = s.home
	}
	a.cmd.Stderr = &a.stderr
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.cmd.Process.Kill()
		<-a.ended
	})
	go func() { // ends with the process's output
		defer close(a.ended)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var e map[string]any
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue
			}
			a.mu.Lock()
			a.events = append(a.events, e)
			a.mu.Unlock()
			select {
			case a.more <- struct{}{}:
			default:
			}
		}
		a.cmd.Wait() // the state is looked at later
	}()
	a.wait(t, "seed")
	return a
}

// wait returns the first event of a kind once it is there.
func (a *act) wait(t testing.TB, kind string) map[string]any {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		if e := a.event(kind); e != nil {
			return e
		}
		select {
		case <-a.more:
		case <-a.ended:
			if e := a.event(kind); e != nil {
				return e
			}
			t.Fatalf("%v ended without the event %q:\n%s", a.cmd.Args, kind, a.stderr.String())
		case <-deadline:
			t.Fatalf("%v: no event %q within a minute:\n%s", a.cmd.Args, kind, a.stderr.String())
		}
	}
}

func (a *act) event(kind string) map[string]any {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		if e["event"] == kind {
			return e
		}
	}
	return nil
}

// address is where a listener is; to tells reverse ones apart.
func (a *act) address(t testing.TB, kind, to string) string {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		if e["event"] != "listening" || e["kind"] != kind {
			continue
		}
		if got, _ := e["to"].(string); to == "" || got == to {
			addr, _ := e["address"].(string)
			return addr
		}
	}
	t.Fatalf("%v: no listener %s %s in %v", a.cmd.Args, kind, to, a.events)
	return ""
}

// stop drains the run and returns its exit code.
func (a *act) stop(t testing.TB) int {
	t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	select {
	case <-a.ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("%v does not end 30 s after SIGTERM:\n%s", a.cmd.Args, a.stderr.String())
	}
	return a.cmd.ProcessState.ExitCode()
}

// report is the ledger that a run printed at its end.
type report struct {
	Misses int `json:"misses"`
	Ledger struct {
		Connections struct {
			Opened, Open, Captured, Passed, Refused, Dropped int
		}
		Exchanges struct {
			Count    int
			Outcomes map[string]int
		}
		Recording struct {
			Begun, Recorded, Pending int
			Lost                     map[string]int
		}
	} `json:"ledger"`
}

func (a *act) report(t *testing.T) report {
	t.Helper()
	data, err := json.Marshal(a.wait(t, "report"))
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// command runs a program to its end and returns what it said.
func (s *stage) command(t testing.TB, env []string, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = s.environ(env...)
	cmd.WaitDelay = 5 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatalf("%s %v: %v", name, args, exit)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// helper is the path of a source in testdata/real.
func helper(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", "real", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// freePort is one that nobody has right now.
func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// syncBuffer is a buffer that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// text formats bytes for a failure: short, and visible.
func text(p []byte) string {
	if len(p) > 300 {
		return fmt.Sprintf("%q… (%d bytes)", p[:300], len(p))
	}
	return fmt.Sprintf("%q", p)
}

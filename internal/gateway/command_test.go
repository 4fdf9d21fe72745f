//go:build linux

package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway"
)

func TestExitCodes(t *testing.T) {
	for line, want := range map[string]int{"exit 7": 7, "kill -TERM $$": 143, "kill -KILL $$": 137, "true": 0} {
		t.Run(line, func(t *testing.T) { sh(t, gateway.Options{}, line).output(want) })
	}
}

func TestCommandThatCannotRun(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"no-such-program-anywhere": 127, "/no/such/file": 127, plain: 126, dir: 126, broken: 127} {
		g, err := gateway.Start(t.Context(), gateway.Options{Argv: []string{name}})
		if err == nil {
			g.Close()
			t.Errorf("%s ran", name)
			continue
		}
		if cannot, ok := errors.AsType[*gateway.CommandError](err); !ok || cannot.Code != want {
			t.Errorf("%s: %v, want code %d", name, err, want)
		}
	}
}

// A script without "#!" is run as a shell would.
func TestScriptWithoutInterpreter(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("echo ran $1; exit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	equal(t, "output", capture(t, gateway.Options{Argv: []string{script, "it"}}).output(3), "ran it")
}

func TestSignal(t *testing.T) {
	r := sh(t, gateway.Options{}, `trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 0.05; done`)
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(r.out, ready); err != nil {
		t.Fatal(err)
	}
	if err := r.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	equal(t, "output", r.output(9), "caught")
	if err := r.Signal(syscall.SIGUSR1); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal after the end: %v", err)
	}
}

func TestStreamsDirectoryEnvironment(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(write, "from stdin\n")
	write.Close()
	defer read.Close()
	dir := t.TempDir()
	r := sh(t, gateway.Options{Stdin: read, Dir: dir, Env: []string{"ONE=two", "PATH=" + os.Getenv("PATH")}}, "cat; pwd; echo $ONE; id -u; ls -d /proc/self/fd/[3-9] 2>/dev/null | wc -l")
	want := []string{"from stdin", dir, "two"}
	got := strings.Split(r.output(0), "\n")
	for i, w := range want {
		if got[i] != w {
			t.Errorf("line %d: %q, want %q", i+1, got[i], w)
		}
	}
}

// Nothing of the gateway's reaches the command: no descriptor, no capability, no
// signal's disposition, no variable. All is as without it.
func TestCommandGetsNothingOfOurs(t *testing.T) {
	// Without a pipe, of which the shell would hold an end for a moment. Nor is the shell
	// asked for its signals: it blocks all while it starts a command.
	const line = "(cd /proc/$$/fd && echo *); grep -E 'CapAmb|CapInh|Sig(Blk|Ign)' /proc/self/status; env; umask; ulimit -a"
	bare := exec.Command("sh", "-c", line)
	bare.Dir, bare.Env = "/", []string{"PATH=" + os.Getenv("PATH")}
	want, err := bare.Output()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "output", sh(t, gateway.Options{Dir: bare.Dir, Env: bare.Env}, line).output(0), string(want))
}

// Descriptors that were inherited keep their numbers: make's job server, a
// service manager's sockets.
func TestInheritedDescriptors(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	_, _ = io.WriteString(write, "token")
	number, err := unix.FcntlInt(read.Fd(), unix.F_DUPFD, 37) // without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(number)
	equal(t, "output", sh(t, gateway.Options{}, fmt.Sprintf("head -c5 /proc/self/fd/%d", number)).output(0), "token")
}

func TestFilesAreSeenByTheCommandAlone(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"real": "old", "other": "old", "source": "from source"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	r := sh(t, gateway.Options{Dir: dir, Files: []gateway.File{
		{Path: filepath.Join(dir, "link"), Content: []byte("new")},
		{Path: filepath.Join(dir, "other"), Source: filepath.Join(dir, "source")},
		{Path: filepath.Join(dir, "none"), Content: []byte("nowhere")},
	}}, "cat link; echo; cat real; echo; cat other; echo; ls; cat /etc/resolv.conf | grep -c nameserver")
	equal(t, "output", r.output(0), "new\nnew\nfrom source\nlink\nother\nreal\nsource\n1")
	if now, _ := os.ReadFile(filepath.Join(dir, "real")); string(now) != "old" {
		t.Errorf("outside, the file is %q", now)
	}
}

// What the command sees in place of files is readable for all, whatever the umask with
// which it was made: a service may run as a user of its own.
func TestCoveredFilesAreReadable(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	equal(t, "modes", sh(t, gateway.Options{}, "stat -L -c %a /etc/resolv.conf; umask").output(0), "444\n0077")
}

// A service manager tells all processes of a unit to end, the shim too. The command ends
// by itself all the same.
func TestSignalsForAllLeaveTheShim(t *testing.T) {
	r := sh(t, gateway.Options{}, `trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done`)
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(r.out, ready); err != nil {
		t.Fatal(err)
	}
	shims := childrenOf(os.Getpid())
	if len(shims) == 0 {
		t.Skip("this kernel keeps no list of children")
	}
	for _, n := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2} {
		for _, pid := range shims {
			if err := syscall.Kill(pid, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	equal(t, "output", r.output(9), "caught")
}

func TestReadyComesBeforeTheCommand(t *testing.T) {
	stop := errors.New("no, thanks")
	_, err := gateway.Start(t.Context(), gateway.Options{Argv: []string{"touch", filepath.Join(t.TempDir(), "made")}, Ready: func(g *gateway.Gateway) error {
		if g.PID() != 0 || g.Down().Socket == nil || g.Up().Name != "eth0" {
			t.Errorf("at Ready: process %d, %+v, %+v", g.PID(), g.Down(), g.Up())
		}
		return stop
	}})
	if _, cannot := errors.AsType[*gateway.StepError](err); cannot {
		t.Skip(err)
	}
	if !errors.Is(err, stop) {
		t.Errorf("Start: %v, want %v", err, stop)
	}
}

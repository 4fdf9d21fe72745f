//go:build linux

package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway"
)

// sleeper is an argument by which the processes of one test are known.
func sleeper() string { return fmt.Sprintf("%d.%09d", 3000+rand.IntN(1000), rand.IntN(1e9)) }

// running returns the processes that match, each as its number and command line.
func running(match func(pid int, argv []string) bool) (all []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && match(pid, strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")) {
			all = append(all, pid)
		}
	}
	return all
}

func with(word string) []int {
	return running(func(pid int, argv []string) bool {
		return pid != os.Getpid() && strings.Contains(strings.Join(argv, " "), word)
	})
}

// until waits for a condition, which comes true by itself or not at all.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it never came to be: ", what)
		}
	}
}

// namespaces returns the network and mount namespaces that processes are in.
func namespaces() map[string]bool {
	all := map[string]bool{}
	for _, kind := range []string{"net", "mnt", "user"} {
		links, _ := filepath.Glob("/proc/[0-9]*/ns/" + kind)
		for _, l := range links {
			if at, err := os.Readlink(l); err == nil {
				all[at] = true
			}
		}
	}
	return all
}

// What the command leaves running ends with Close: politely if it can, also when the
// context has ended by then.
func TestDaemonsEndWithClose(t *testing.T) {
	word := sleeper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	null, _ := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	defer null.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g, err := gateway.Start(ctx, gateway.Options{
		Argv:  []string{"sh", "-c", "setsid sh -c 'trap \"echo bye; exit\" TERM; echo up; while :; do sleep 0.05; done' & setsid sleep " + word + " & sleep " + word + " & exit 3"},
		Stdin: null, Stdout: write, Stderr: null,
	})
	write.Close()
	if err != nil {
		t.Skip(err)
	}
	lines := bufio.NewReader(read)
	if line, err := lines.ReadString('\n'); line != "up\n" {
		t.Fatal(line, err)
	}
	if code, err := g.Wait(); code != 3 || err != nil {
		t.Errorf("Wait() = %d, %v, want 3", code, err)
	}
	until(t, "two daemons", func() bool { return len(with("sleep "+word)) >= 2 })
	cancel()
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if left := with(word); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
	if rest, _ := io.ReadAll(lines); string(rest) != "bye\n" {
		t.Errorf("a daemon with a SIGTERM handler wrote %q", rest)
	}
}

func TestContextEndsTheCommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g, err := gateway.Start(ctx, gateway.Options{Argv: []string{"sleep", sleeper()}})
	if err != nil {
		t.Skip(err)
	}
	cancel()
	if code, err := g.Wait(); code != 137 || err == nil {
		t.Errorf("Wait() = %d, %v, want 137 and why", code, err)
	}
	g.Close()
	if _, err := gateway.Start(ctx, gateway.Options{Argv: []string{"true"}}); err == nil {
		t.Error("a start after the context's end")
	}
}

// kills is how many processes TestKillLeavesNothing kills; GATEWAY_TEST_KILLS
// says otherwise.
const kills = 15

// Whichever process is killed, whenever, nothing is left: no process, no
// namespace, no mount, no file. The command leaves daemons in sessions of their own.
func TestKillLeavesNothing(t *testing.T) {
	if probe, err := gateway.Start(t.Context(), gateway.Options{Argv: []string{"true"}}); err != nil {
		t.Skip(err)
	} else {
		probe.Close()
	}
	t.Setenv("TMPDIR", t.TempDir()) // others make files where all do
	rounds := kills
	if text, ok := os.LookupEnv("GATEWAY_TEST_KILLS"); ok {
		rounds, _ = strconv.Atoi(text)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	before := namespaces()
	for round := range rounds {
		victim := []string{"parent", "shim", "command"}[round%3]
		after := time.Duration(random.Int64N(int64(200 * time.Millisecond)))
		killOne(t, victim, after)
		if t.Failed() {
			t.Fatalf("round %d: %s killed after %s", round, victim, after)
		}
	}
	until(t, "the namespaces are gone", func() bool {
		for ns := range namespaces() {
			if !before[ns] && inOurs(ns) {
				return false
			}
		}
		return true
	})
	if now, _ := os.ReadFile("/proc/self/mountinfo"); string(now) != string(mounts) {
		t.Errorf("mounts now:\n%s\nbefore:\n%s", now, mounts)
	}
	if left, _ := filepath.Glob(os.TempDir() + "/*"); len(left) > 0 {
		t.Errorf("files were left: %s", left)
	}
}

// Where both who could end a command's daemons are killed in one instant, the next run does
// it. A run that is watched over is left alone.
func TestOrphansAreEnded(t *testing.T) {
	other := sleeper()
	beside := capture(t, gateway.Options{Argv: []string{"sh", "-c", "setsid sleep " + other + " & exec sleep " + other}})
	until(t, "a run beside", func() bool { return len(exactly("sleep", other)) == 2 })
	word := sleeper()
	argv, env := as("host", "sh", "-c", "setsid sleep "+word+" & setsid setsid sleep "+word+" & exec sleep "+word)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the command and its daemons", func() bool { return len(exactly("sleep", word)) == 3 })
	var shims []int
	until(t, "there is a shim", func() bool { shims = childrenOf(cmd.Process.Pid); return len(shims) > 0 })
	_ = unix.Kill(cmd.Process.Pid, unix.SIGSTOP) // so that it sees nothing of the shim's end
	until(t, "it stands", func() bool { return stopped(cmd.Process.Pid) })
	for _, pid := range shims {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	// Captured commands of other tests look for them, too.
	until(t, "its daemons are gone", func() bool {
		gateway.EndOrphans(t.Context())
		return len(with(word)) == 0
	})
	if left := exactly("sleep", other); len(left) != 2 {
		t.Errorf("of the run beside %v are left", left)
	}
	_ = beside.Close()
}

// stopped reports whether all threads of a process have stopped.
func stopped(pid int) bool {
	all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, name := range all {
		text, _ := os.ReadFile(name)
		if _, state, _ := strings.Cut(string(text), ") "); !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return len(all) > 0
}

// inOurs reports whether a process of this test binary is in a namespace; other
// programs of this machine come and go, those of other tests with shims of theirs.
func inOurs(ns string) bool {
	kind, _, _ := strings.Cut(ns, ":")
	own, _ := os.Readlink(self())
	return len(running(func(pid int, argv []string) bool {
		at, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		return at == ns && exe == own && (argv[0] == "understudy-gateway" || argv[0] == self())
	})) > 0
}

func killOne(t *testing.T, victim string, after time.Duration) {
	word := sleeper()
	argv, env := as("host", "sh", "-c", "setsid sleep "+word+" & sleep "+word+" & exec sleep "+word)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	host := cmd.Process.Pid
	shims := func() []int { return childrenOf(host) }
	timer := time.NewTimer(after)
	defer timer.Stop()
	<-timer.C
	switch victim {
	case "parent":
		_ = unix.Kill(host, unix.SIGKILL)
	case "shim":
		until(t, "there is a shim", func() bool { return len(shims()) > 0 })
		for _, pid := range shims() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	case "command":
		until(t, "there is a command", func() bool { return len(exactly("sleep", word)) > 0 })
		for _, pid := range exactly("sleep", word)[:1] {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }() // the next waits for it
	until(t, "the run has ended", func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		if victim == "command" {
			// It may have been a daemon; then the command still runs, or is the shell yet. One
			// that executes a program just now has no command line.
			for _, pid := range exactly("sleep", word) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		return false
	})
	until(t, "its processes are gone", func() bool { return len(with(word)) == 0 })
}

func exactly(argv ...string) []int {
	return running(func(_ int, have []string) bool { return strings.Join(have, " ") == strings.Join(argv, " ") })
}

func childrenOf(pid int) (all []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, l := range lists {
		text, _ := os.ReadFile(l)
		for _, f := range strings.Fields(string(text)) {
			n, _ := strconv.Atoi(f)
			all = append(all, n)
		}
	}
	return all
}

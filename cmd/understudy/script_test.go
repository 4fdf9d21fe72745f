package main

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a story waits for what must come.
const patience = 30 * time.Second

// scriptCode runs a program to its end: code EXIT-CODE PROGRAM ARG… Several codes are
// divided by "|".
func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code EXIT-CODE PROGRAM ARG…")
	}
	checkCode(ts, args[0], ts.Exec(args[1], args[2:]...))
}

func checkCode(ts *testscript.TestScript, want string, err error) {
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("run: %v", err)
	}
	if !slices.Contains(strings.Split(want, "|"), strconv.Itoa(got)) {
		ts.Fatalf("exit code = %d, want %s", got, want)
	}
}

// players are a story's programs in the background, and its upstreams by the
// variables that hold their URLs.
type players struct {
	byName  map[string]*player
	servers map[string]*httptest.Server
}

type playersKey struct{}

func (p *players) end() {
	for _, one := range p.byName {
		_ = one.cmd.Process.Kill()
		<-one.done
	}
}

type player struct {
	cmd            *exec.Cmd
	stdout, stderr watched
	done           chan struct{} // closed at its end
	err            error         // valid then
}

// watched is output that somebody waits for.
type watched struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // signals a write
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
	return w.b.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// passed are the variables that a program in the background is given.
var passed = []string{"PATH", "HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "UNDERSTUDY_SEED", "UNDERSTUDY_ADMIN_TOKEN", "NO_PROXY"}

// scriptStart runs a program in the background: start NAME PROGRAM ARG…
func scriptStart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM ARG…")
	}
	all := ts.Value(playersKey{}).(*players)
	if all.byName[args[0]] != nil {
		ts.Fatalf("%s runs already", args[0])
	}
	path := args[1]
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, path)); err == nil {
			path = filepath.Join(dir, path)
			break
		}
	}
	p := &player{cmd: exec.Command(path, args[2:]...), done: make(chan struct{})}
	p.stdout.more, p.stderr.more = make(chan struct{}, 1), make(chan struct{}, 1)
	p.cmd.Dir = ts.MkAbs(".")
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	for _, name := range passed {
		if v := ts.Getenv(name); v != "" {
			p.cmd.Env = append(p.cmd.Env, name+"="+v)
		}
	}
	if signal.Ignored(syscall.SIGHUP) { // as under nohup: the program would ignore it, too
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	ts.Check(p.cmd.Start())
	go func() { // ends with the program
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	all.byName[args[0]] = p
}

func named(ts *testscript.TestScript, name string) *player {
	p := ts.Value(playersKey{}).(*players).byName[name]
	if p == nil {
		ts.Fatalf("%s does not run", name)
	}
	return p
}

// scriptWaitLine waits until a program says something: waitline NAME REGEXP [VARIABLE].
// The variable is given the first group.
func scriptWaitLine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: waitline NAME REGEXP [VARIABLE]")
	}
	p := named(ts, args[0])
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	late := time.After(patience)
	for ended := false; ; {
		for _, w := range []*watched{&p.stdout, &p.stderr} {
			if m := re.FindStringSubmatch(w.String()); m != nil {
				if len(args) == 3 {
					ts.Setenv(args[2], m[len(m)-1])
				}
				return
			}
		}
		if ended {
			ts.Fatalf("%s ended without %q: %v\n%s%s", args[0], args[1], p.err, p.stdout.String(), p.stderr.String())
		}
		select {
		case <-p.stdout.more:
		case <-p.stderr.more:
		case <-p.done:
			ended = true // look once more
		case <-late:
			ts.Fatalf("%s does not say %q:\n%s%s", args[0], args[1], p.stdout.String(), p.stderr.String())
		}
	}
}

// scriptFinish ends a program, by SIGTERM or the signal that is named, and looks at its exit
// code: finish NAME EXIT-CODE [SIGNAL]. What it said is then in stdout and stderr.
func scriptFinish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: finish NAME EXIT-CODE [SIGNAL]")
	}
	by := syscall.SIGTERM
	if len(args) == 3 {
		by = map[string]syscall.Signal{"SIGHUP": syscall.SIGHUP, "SIGINT": syscall.SIGINT}[args[2]]
	}
	if err := named(ts, args[0]).cmd.Process.Signal(by); err != nil && !errors.Is(err, os.ErrProcessDone) {
		ts.Check(err)
	}
	scriptEnded(ts, neg, args[:2])
}

// scriptEnded waits for a program's end: ended NAME EXIT-CODE.
func scriptEnded(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ended NAME EXIT-CODE")
	}
	p := named(ts, args[0])
	select {
	case <-p.done:
	case <-time.After(patience):
		ts.Fatalf("%s does not end:\n%s%s", args[0], p.stdout.String(), p.stderr.String())
	}
	delete(ts.Value(playersKey{}).(*players).byName, args[0])
	_, _ = ts.Stdout().Write([]byte(p.stdout.String()))
	_, _ = ts.Stderr().Write([]byte(p.stderr.String()))
	defer func() {
		if strings.Contains(p.stderr.String(), "DATA RACE") {
			ts.Fatalf("%s raced:\n%s", args[0], p.stderr.String())
		}
	}()
	checkCode(ts, args[1], p.err)
}

// scriptKill ends a program with SIGKILL: sigkill NAME.
func scriptKill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sigkill NAME")
	}
	p := named(ts, args[0])
	ts.Check(p.cmd.Process.Kill())
	<-p.done
	delete(ts.Value(playersKey{}).(*players).byName, args[0])
}

// scriptBecomes runs a program until it says something: becomes REGEXP PROGRAM ARG…
func scriptBecomes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: becomes REGEXP PROGRAM ARG…")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var out []byte
	for late := time.Now().Add(patience); time.Now().Before(late); <-time.After(50 * time.Millisecond) {
		if out, err = exec.Command(args[1], args[2:]...).CombinedOutput(); err == nil && re.Match(out) {
			return
		}
	}
	ts.Fatalf("%s does not come to say %q: %v\n%s", args[1], args[0], err, out)
}

// scriptCut takes bytes off a file's end: cut FILE N.
func scriptCut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut FILE N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	path := ts.MkAbs(args[0])
	info, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, info.Size()-int64(n)))
}

// scriptFlip flips the lowest bit of the first byte of TEXT in a file: flip FILE TEXT.
func scriptFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE TEXT")
	}
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	i := bytes.Index(data, []byte(args[1]))
	if i < 0 {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	data[i] ^= 1
	ts.Check(os.WriteFile(path, data, 0o600))
}

// scriptEdit replaces the first OLD in a file, at once as editors do: edit FILE OLD NEW.
func scriptEdit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit FILE OLD NEW")
	}
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	if !bytes.Contains(data, []byte(args[1])) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(path+".new", bytes.Replace(data, []byte(args[1]), []byte(args[2]), 1), 0o600))
	ts.Check(os.Rename(path+".new", path))
}

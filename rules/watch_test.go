package rules

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watching is a running watcher and what it reports.
type watching struct {
	t       testing.TB
	engine  *Engine
	reports chan Reload
}

func watchRules(t testing.TB, paths ...string) *watching {
	t.Helper()
	return watchBeside(t, nil, paths...)
}

func watchBeside(t testing.TB, beside func([]Source, *Set) (func(), error), paths ...string) *watching {
	t.Helper()
	places := make([]Place, len(paths))
	for i, p := range paths {
		places[i] = Place{Path: p}
	}
	s, err := Load(places, Options{})
	if err != nil {
		t.Fatal(place.Detail(err))
	}
	w := &watching{t, NewEngine(1, nil), make(chan Reload, 100)}
	w.engine.Swap(s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	watcher := NewWatcher(w.engine, places, Options{}, func(r Reload) { w.reports <- r })
	watcher.Beside(beside)
	go func() { done <- watcher.Run(ctx) }() // ended by the clean-up
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	return w
}

// next waits for a report.
func (w *watching) next() Reload {
	w.t.Helper()
	select {
	case r := <-w.reports:
		return r
	case <-time.After(20 * time.Second):
		w.t.Fatal("no reload was reported")
	}
	return Reload{}
}

// live waits until the rules are these.
func (w *watching) live(want ...string) {
	w.t.Helper()
	for {
		r := w.next()
		if r.Err != nil || r.Notice != "" {
			w.t.Fatalf("reported %v %s, want rules %q", r.Err, r.Notice, want)
		}
		if slices.Equal(r.Set.inOrder(), want) {
			break
		}
	}
	if got := w.engine.Set().inOrder(); !slices.Equal(got, want) {
		w.t.Fatalf("the engine has %q, want %q", got, want)
	}
}

func rulesText(names ...string) string {
	text := "rules:\n"
	for _, n := range names {
		text += fmt.Sprintf("  - {name: %s, delay: 1ms}\n", n)
	}
	return text
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReloadOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, rulesText("a"))
	w := watchRules(t, path)

	write(t, path, rulesText("a", "b")) // truncates and writes
	w.live("a", "b")

	must(t, os.WriteFile(path+".tmp", []byte(rulesText("c")), 0o644)) // renames and replaces
	must(t, os.Rename(path+".tmp", path))
	w.live("c")

	must(t, os.Rename(path, path+"~")) // moves away, then writes anew
	write(t, path, rulesText("d"))
	w.live("d")

	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0) // grows in place
	must(t, err)
	_, err = f.WriteString("  - {name: e, delay: 1ms}\n")
	must(t, err)
	must(t, f.Close())
	w.live("d", "e")
}

func TestBrokenFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, rulesText("a"))
	w := watchRules(t, path)
	write(t, path, "rules:\n  - {name: b, when: request.methd == \"GET\", delay: 1ms}\n")
	r := w.next()
	if r.Err == nil || !strings.Contains(place.Detail(r.Err), "rules.yaml:2:29: when: request has no \"methd\"") {
		t.Fatalf("reported %+v, want the error with its place", r)
	}
	if got := w.engine.Set().inOrder(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("the engine has %q after a broken file, want the old set", got)
	}
	write(t, path, rulesText("c"))
	w.live("c")
}

// What is beside the rules changes with them or not at all.
func TestBeside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, rulesText("a"))
	var refuse error
	asked, committed := 0, 0
	w := watchBeside(t, func(s []Source, _ *Set) (func(), error) {
		asked++
		if len(s) != 1 || s[0].Name != path || refuse != nil {
			return nil, refuse
		}
		return func() { committed++ }, nil
	}, path)

	write(t, path, rulesText("a", "b"))
	w.live("a", "b")
	if asked != 1 || committed != 1 {
		t.Errorf("asked %d times and committed %d times, want 1 and 1", asked, committed)
	}
	write(t, path, "rules: nonsense\n")
	if r := w.next(); r.Err == nil || r.Beside || asked != 1 {
		t.Errorf("reported %+v after %d questions, want an error of the rules' own after 1", r, asked)
	}
	refuse = errors.New("not that")
	write(t, path, rulesText("c"))
	if r := w.next(); !errors.Is(r.Err, refuse) || !r.Beside {
		t.Errorf("reported %+v, want the other part's error", r)
	}
	if got := w.engine.Set().inOrder(); !slices.Equal(got, []string{"a", "b"}) || committed != 1 {
		t.Errorf("the engine has %q after %d commits, want the old rules after 1", got, committed)
	}
}

// A body may be saved after the rule that names it, which was refused for want of it.
func TestBodyLater(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rules.yaml")
	write(t, path, rulesText("a"))
	w := watchRules(t, path)
	write(t, path, "rules:\n  - {name: b, fault: {status: 503, body_file: b.txt}}\n")
	if r := w.next(); r.Err == nil || !strings.Contains(r.Err.Error(), "b.txt") {
		t.Fatalf("reported %+v, want that the body is missing", r)
	}
	write(t, filepath.Join(dir, "b.txt"), "sorry")
	w.live("b")
}

// A file that vanishes is reported, the old set stays, and its return is seen.
func TestVanishedFileComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sub")
	must(t, os.Mkdir(dir, 0o755))
	path := filepath.Join(dir, "rules.yaml")
	write(t, path, rulesText("a"))
	w := watchRules(t, path)
	must(t, os.RemoveAll(dir))
	if r := w.next(); r.Err == nil || !strings.Contains(r.Err.Error(), "no such file") {
		t.Fatalf("reported %+v, want that the file is gone", r)
	}
	if got := w.engine.Set().inOrder(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("the engine has %q, want the old set", got)
	}
	must(t, os.Mkdir(dir, 0o755))
	write(t, path, rulesText("b"))
	for r := w.next(); r.Set == nil || r.Set.inOrder()[0] != "b"; r = w.next() {
		if r.Set != nil {
			t.Fatalf("rules %q are live, want b", r.Set.inOrder())
		}
	}
}

// Truncated and not yet written: the empty file must not count as no rules.
func TestHalfWrittenFileIsNotAccepted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, rulesText("a"))
	w := watchRules(t, path)
	for i := range 5 {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		must(t, err)
		timer := time.NewTimer(40 * time.Millisecond) // longer than it takes to settle
		<-timer.C
		name := fmt.Sprint("n", i)
		_, err = f.WriteString(rulesText(name))
		must(t, err)
		must(t, f.Close())
		r := w.next()
		if r.Set == nil || !slices.Equal(r.Set.inOrder(), []string{name}) {
			t.Fatalf("reported %+v, want rule %s and nothing between", r, name)
		}
	}
	write(t, path, "") // meant: it stays empty
	w.live()
}

func TestReloadOfAFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "1.yaml"), rulesText("a"))
	write(t, filepath.Join(dir, ".hidden.yaml"), "broken: [")
	write(t, filepath.Join(dir, "notes.txt"), "broken: [")
	w := watchRules(t, dir)
	write(t, filepath.Join(dir, "2.yml"), rulesText("b"))
	w.live("a", "b")
	must(t, os.Remove(filepath.Join(dir, "1.yaml")))
	w.live("b")
	write(t, filepath.Join(dir, "0.yaml"), rulesText("c"))
	w.live("c", "b")
	must(t, os.Rename(filepath.Join(dir, "0.yaml"), filepath.Join(dir, "3.yaml")))
	w.live("b", "c")
}

// A folder that is replaced whole is followed.
func TestReplacedFolder(t *testing.T) {
	root := t.TempDir()
	dir, next := filepath.Join(root, "rules"), filepath.Join(root, "next")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.Mkdir(next, 0o755))
	write(t, filepath.Join(dir, "r.yaml"), rulesText("a"))
	write(t, filepath.Join(next, "r.yaml"), rulesText("b"))
	w := watchRules(t, dir)
	must(t, os.Rename(dir, filepath.Join(root, "old")))
	must(t, os.Rename(next, dir))
	w.live("b")
	write(t, filepath.Join(dir, "r.yaml"), rulesText("c"))
	w.live("c")
}

// Kubernetes mounts a config map as links through ..data, and swaps that link.
func TestConfigMapSwap(t *testing.T) {
	for _, whole := range []bool{true, false} {
		dir := t.TempDir()
		publish := func(version string, names ...string) {
			must(t, os.Mkdir(filepath.Join(dir, version), 0o755))
			write(t, filepath.Join(dir, version, "rules.yaml"), rulesText(names...))
			must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
			must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		}
		publish("..2024_1", "a")
		must(t, os.Symlink("..data/rules.yaml", filepath.Join(dir, "rules.yaml")))
		path := dir
		if !whole {
			path = filepath.Join(dir, "rules.yaml")
		}
		w := watchRules(t, path)
		publish("..2024_2", "b")
		must(t, os.RemoveAll(filepath.Join(dir, "..2024_1")))
		w.live("b")
		publish("..2024_3", "c", "d")
		must(t, os.RemoveAll(filepath.Join(dir, "..2024_2")))
		w.live("c", "d")
	}
}

// A body that lives beside the rules is part of them.
func TestReloadOfABodyFile(t *testing.T) {
	dir := t.TempDir()
	path, body := filepath.Join(dir, "rules.yaml"), filepath.Join(dir, "busy.json")
	write(t, body, "one")
	write(t, path, "rules:\n  - {name: a, fault: {status: 503, body_file: busy.json}}\n")
	w := watchRules(t, path)
	write(t, body, "two")
	for {
		r := w.next()
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if got := string(w.engine.Plan(get("/")).Fault.Body); got == "two" {
			if !slices.Equal(r.Change.Changed, []string{"a"}) {
				t.Errorf("Change = %+v, want a changed", r.Change)
			}
			return
		}
	}
}

// What changed before the watcher ran is noticed.
func TestChangeBeforeRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, rulesText("old"))
	s, err := Load([]Place{{Path: path}}, Options{})
	must(t, err)
	e := NewEngine(1, nil)
	e.Swap(s)
	write(t, path, rulesText("new"))
	ctx, cancel := context.WithCancel(context.Background())
	reload := make(chan Reload, 10)
	done := make(chan error)
	go func() { // ended by cancel below
		done <- NewWatcher(e, []Place{{Path: path}}, Options{}, func(r Reload) { reload <- r }).Run(ctx)
	}()
	if r := <-reload; r.Set == nil || r.Set.inOrder()[0] != "new" {
		t.Errorf("reported %+v, want rule new", r)
	}
	cancel()
	must(t, <-done)
}

// BenchmarkReload measures from the save to the moment the rules are live.
func BenchmarkReload(b *testing.B) {
	path := filepath.Join(b.TempDir(), "rules.yaml")
	write(b, path, rulesText("a"))
	w := watchRules(b, path)
	i := 0
	for b.Loop() {
		i++
		write(b, path, rulesText(fmt.Sprint("r", i)))
		w.next()
	}
}

// inOrder is the rules' names in order.
func (s *Set) inOrder() []string {
	all := make([]string, len(s.rules))
	for i, u := range s.rules {
		all[i] = u.name
	}
	return all
}

package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

// Most of what a watcher does is tested where it is used: in rules and in internal/app.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// told is what a watcher told: one of the two.
type told struct {
	text, wrong string
}

// run has places watched until the test ends.
func run(t *testing.T, change func(*Watcher), places ...Place) chan told {
	t.Helper()
	files, err := Read("words", places)
	if err != nil {
		t.Fatal(err)
	}
	tell := make(chan told, 100)
	w := New(Options{
		What: "words", Places: places, Digest: Digest(files),
		Take: func(_ context.Context, files []File) ([]Named, error) {
			var all []string
			for _, f := range files {
				all = append(all, string(f.Data))
			}
			tell <- told{text: strings.Join(all, "+")}
			return nil, nil
		},
		Refuse: func(err error) { tell <- told{wrong: err.Error()} },
		Notice: func(text string) { tell <- told{wrong: text} },
	})
	if change != nil {
		change(w)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }() // ended by the clean-up
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	return tell
}

func next(t *testing.T, tell chan told) told {
	t.Helper()
	select {
	case n := <-tell:
		return n
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was told")
	}
	return told{}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Where the system cannot notify, files are looked at, and that is said.
func TestPollingIsTheFallback(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	write(t, path, "a\n")
	tell := run(t, func(w *Watcher) {
		w.Listen = func() (*fsnotify.Watcher, error) { return nil, errors.New("no more watches") }
		w.Every = 10 * time.Millisecond
	}, Place{Path: path})
	if n := next(t, tell); n.wrong != "words cannot be watched (no more watches): looking at their files every 10ms instead" {
		t.Errorf("told %+v, want a notice", n)
	}
	write(t, path, "b\n")
	if n := next(t, tell); n.text != "b\n" {
		t.Errorf("told %+v, want b", n)
	}
}

// A folder that need not be there is waited for, and may go again.
func TestOptionalFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "stubs")
	tell := run(t, nil, Place{Path: dir, Optional: true})
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "a.yaml"), "a\n")
	if n := next(t, tell); n.text != "a\n" {
		t.Errorf("told %+v, want a", n)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if n := next(t, tell); n.text != "" || n.wrong != "" {
		t.Errorf("told %+v, want nothing to be there", n)
	}
}

// A file of which only the length counts is not read.
func TestNamedBySize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.bin")
	n := Named{Path: path, Size: true, Sum: SumOfSize(3)}
	for text, want := range map[string]bool{"abc": true, "xyz": true, "abcd": false} {
		write(t, path, text)
		if got := n.now() == n.Sum; got != want {
			t.Errorf("%q is as before: %t, want %t", text, got, want)
		}
	}
}

// What is no file is not opened: nobody may ever write into a pipe, and a device has no end.
func TestOnlyFilesAreRead(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a pipe":   func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"a device": func(path string) error { return os.Symlink("/dev/zero", path) },
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "a.yaml"), "a\n")
		tell := run(t, nil, Place{Path: dir})
		path := filepath.Join(dir, "b.yaml")
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if n, want := next(t, tell), path+": read words: want a file, got "+name; n.wrong != want {
			t.Errorf("told %+v, want %s", n, want)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		write(t, path, "b\n")
		if n := next(t, tell); n.text != "a\n+b\n" {
			t.Errorf("told %+v, want a and b", n)
		}
		if got := (Named{Path: "/dev/zero"}).now(); got != Gone {
			t.Errorf("a named device: %d, want Gone", got)
		}
	}
	if got, err := Read("words", []Place{{Path: os.DevNull}}); err != nil || len(got) != 1 || len(got[0].Data) != 0 {
		t.Errorf("Read of %s = %v, %v, want it empty", os.DevNull, got, err)
	}
}

// A file that a refused reading names is waited for.
func TestNamedByARefusedReading(t *testing.T) {
	dir := t.TempDir()
	path, body := filepath.Join(dir, "a.yaml"), filepath.Join(t.TempDir(), "later", "body")
	write(t, path, "a\n")
	tell := run(t, func(w *Watcher) {
		take := w.o.Take
		w.o.Take = func(ctx context.Context, files []File) ([]Named, error) {
			data, err := os.ReadFile(body)
			if err != nil {
				w.o.Refuse(err)
				return []Named{{Path: body, Sum: Gone}}, err
			}
			_, err = take(ctx, files)
			return []Named{{Path: body, Sum: Sum(data)}}, err
		}
	}, Place{Path: path})
	write(t, path, "b\n")
	if n := next(t, tell); n.wrong == "" {
		t.Errorf("told %+v, want a refusal", n)
	}
	if err := os.Mkdir(filepath.Dir(body), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, body, "body")
	if n := next(t, tell); n.text != "b\n" {
		t.Errorf("told %+v, want b", n)
	}
	// One that is gone, or emptied, for a moment is being written.
	for i, change := range []func(){func() { _ = os.Remove(body) }, func() { write(t, body, "") }} {
		change()
		<-time.NewTimer(60 * time.Millisecond).C // longer than it takes to settle
		write(t, body, fmt.Sprint("other", i))
		if n := next(t, tell); n.text != "b\n" {
			t.Errorf("told %+v, want b", n)
		}
	}
	if len(tell) > 0 {
		t.Errorf("told %+v as well", <-tell)
	}
}

// What the system tells nothing of is seen all the same, a little later: here another folder
// takes the name of one far above.
func TestUntold(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x", "y", "z", "a.yaml")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, path, "a\n")
	tell := run(t, func(w *Watcher) { w.Every = 10 * time.Millisecond }, Place{Path: path})
	<-time.NewTimer(50 * time.Millisecond).C
	if err := os.CopyFS(filepath.Join(dir, "new"), os.DirFS(filepath.Join(dir, "x"))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "new", "y", "z", "a.yaml"), "b\n")
	for _, move := range [][2]string{{"x", "old"}, {"new", "x"}} {
		if err := os.Rename(filepath.Join(dir, move[0]), filepath.Join(dir, move[1])); err != nil {
			t.Fatal(err)
		}
	}
	if n := next(t, tell); n.text != "b\n" {
		t.Errorf("told %+v, want b", n)
	}
	write(t, path, "c\n")
	if n := next(t, tell); n.text != "c\n" {
		t.Errorf("told %+v, want c", n)
	}
}

// Files are read once they are quiet; and at times where they never are.
func TestSettling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := schedule{quiet: time.NewTimer(time.Hour)}
		start := time.Now()
		var read []time.Duration
		for range 300 { // a write every 10 ms, for 3 s
			time.Sleep(10 * time.Millisecond)
			select {
			case <-s.quiet.C:
				read = append(read, time.Since(start))
				s.began = time.Time{}
			default:
			}
			s.touch()
		}
		if len(read) != 2 || read[0] < patience {
			t.Errorf("read after %v, want it after %v of writing, and again", read, patience)
		}
		time.Sleep(settle)
		select {
		case <-s.quiet.C:
		default:
			t.Errorf("not read %v after the last write", settle)
		}
	})
}

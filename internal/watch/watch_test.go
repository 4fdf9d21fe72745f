package watch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		Take: func(files []File) ([]Named, error) {
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

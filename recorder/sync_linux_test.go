package recorder

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel's own syncs and plain ones say the same, of many files at once too.
func TestSyncer(t *testing.T) {
	dir := t.TempDir()
	fs := make([]*os.File, syncsAtOnce-1)
	for i := range fs {
		var err error
		if fs[i], err = os.Create(filepath.Join(dir, strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
		defer fs[i].Close()
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fs = append(fs, d)
	in, pipe, err := os.Pipe() // which nobody can sync
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer pipe.Close()

	kernels := newSyncer()
	if kernels.context == 0 {
		t.Log("no asynchronous input and output here: plain syncs alone")
	}
	for name, s := range map[string]*syncer{"kernel's": kernels, "plain": {}} {
		t.Run(name, func(t *testing.T) {
			for round := range 3 {
				for _, f := range fs[:len(fs)-1] {
					if _, err := f.WriteString("more"); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.sync(fs...); err != nil {
					t.Errorf("round %d: sync of %d files: %v", round, len(fs), err)
				}
				if err := s.sync(fs[0]); err != nil {
					t.Errorf("round %d: sync of one file: %v", round, err)
				}
				if err := s.sync(fs[0], pipe, fs[1]); !errors.Is(err, unix.EINVAL) {
					t.Errorf("round %d: sync of a pipe among files: %v, want %v", round, err, unix.EINVAL)
				}
			}
			if err := s.close(); err != nil {
				t.Error(err)
			}
			if err := s.sync(fs[0]); err != nil {
				t.Errorf("sync after close: %v", err)
			}
		})
	}
}

// An error of the disk is told as such; a file that the kernel cannot sync by itself
// is synced plainly.
func TestSyncOutcome(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "lines"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for res, want := range map[int64]error{
		0: nil, -int64(unix.EIO): unix.EIO, -int64(unix.ENOSPC): unix.ENOSPC,
		-int64(unix.EINVAL): nil, -int64(unix.ENOSYS): nil, -int64(unix.EOPNOTSUPP): nil,
	} {
		if err := outcome(f, res); !errors.Is(err, want) {
			t.Errorf("outcome(%d) = %v, want %v", res, err, want)
		}
	}
}

// What the page cache let go of is still in the file.
func TestUncache(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "lines"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := bytes.Repeat([]byte("0123456789abcde\n"), 5*uncachePart/16+7)
	if _, err := f.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	uncache(f, 0, int64(len(want)))
	uncache(f, int64(len(want))-uncacheLag, int64(len(want)))
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v; want the %d written", len(got), err, len(want))
	}
}

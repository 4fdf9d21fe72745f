package app

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A run that is killed while it writes to the cache leaves an unfinished file. The next one
// that writes removes it, and leaves alone what another is writing.
func TestCacheSweepsWhatWasNotFinished(t *testing.T) {
	dir := t.TempDir()
	old, young := filepath.Join(dir, ".new-1"), filepath.Join(dir, ".new-2")
	for _, name := range []string{old, young} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * abandoned)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	if err := cache(dir).keep(filepath.Join(dir, "kept"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{old: false, young: true, filepath.Join(dir, "kept"): true} {
		if _, err := os.Lstat(name); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", filepath.Base(name), err == nil, want)
		}
	}
}

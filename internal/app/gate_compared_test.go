package app

import (
	"os"
	"path/filepath"
	"testing"
)

// Programs that are compared share no file with this one or each other. Beside a script,
// and where they capture, they run from where they are.
func TestSideBySide(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/bin/false", "/bin/ls"} {
		if _, err := os.Stat(name); err != nil {
			t.Skipf("no %s to copy", name)
		}
	}
	t.Setenv("TMPDIR", t.TempDir())
	programs, remove, err := SideBySide("/bin/ls", "/bin/ls")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{"/bin/ls": true}
	for _, p := range programs {
		copied, captures := p.of(stage{}), p.of(stage{loads: true})
		if info, err := os.Stat(copied); err != nil || info.Mode()&0o100 == 0 || seen[copied] || captures != "/bin/ls" {
			t.Errorf("programs %q and %q, %v: want a copy of its own, and /bin/ls where it captures", copied, captures, err)
		}
		seen[copied] = true
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	for _, names := range [][2]string{{"/bin/ls", script}, {"/bin/false", "/bin/ls"}} { // what cannot run as a copy
		programs, remove, err := SideBySide(names[:]...)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range programs {
			if got := p.of(stage{}); got != names[i] {
				t.Errorf("%q: %s runs, want %s itself", names, got, names[i])
			}
		}
		if err := remove(); err != nil {
			t.Error(err)
		}
	}
}

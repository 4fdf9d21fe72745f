package app

import (
	"os"
	"path/filepath"
	"testing"
)

// Programs that are compared share no file with this one or each other; a script, and
// what captures, runs from where it is.
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
	programs, remove, err := SideBySide("/bin/ls", "/bin/ls", script)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{"/bin/ls": true}
	for _, p := range programs[:2] {
		copied, captures := p.of(stage{}), p.of(stage{loads: true})
		if info, err := os.Stat(copied); err != nil || info.Mode()&0o100 == 0 || seen[copied] || captures != "/bin/ls" {
			t.Errorf("programs %q and %q, %v: want a copy of its own, and /bin/ls where it captures", copied, captures, err)
		}
		seen[copied] = true
	}
	if got := programs[2].of(stage{}); got != script {
		t.Errorf("a script runs from %s, want %s", got, script)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	// What cannot run as a copy runs as it is.
	programs, remove, err = SideBySide("/bin/false", "/bin/ls")
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	if got := programs[1].of(stage{}); got != "/bin/ls" {
		t.Errorf("%s runs, want /bin/ls itself", got)
	}
}

package app

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/internal/gate"
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
		copied, captures := p.of(stage{}).file, p.of(stage{loads: true}).file
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
			if got := p.of(stage{}).file; got != names[i] {
				t.Errorf("%q: %s runs, want %s itself", names, got, names[i])
			}
		}
		if err := remove(); err != nil {
			t.Error(err)
		}
	}
}

// What went wrong with a program is told of the file that the user gave, and it is called so.
func TestComparedAreCalledByTheirNames(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("no program"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	for name, want := range map[string]string{
		"/bin/cat": "start proxy: /bin/cat proxy --tcp .*: ended early, with (exit status 1|signal: killed): /bin/cat: un",
		broken:     "start " + broken + ": exec format error",
	} {
		programs, remove, err := SideBySide("/bin/ls", name)
		if err != nil {
			t.Fatal(err)
		}
		if copied := programs[1].copied; copied == name {
			t.Errorf("%s runs from where it is, want a copy", name)
		}
		_, err = gate.Run(t.Context(), gate.Options{Scenarios: []gate.Scenario{{Name: "tcp", Start: stage{set: tcp}.start(programs[1].of(stage{}))}}})
		if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) || strings.Contains(err.Error(), "/1-") {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		if err := remove(); err != nil {
			t.Error(err)
		}
	}
}

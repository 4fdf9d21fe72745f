package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A program that is none of this kind is told by what it did; it is not waited for forever.
func TestOtherProgramsAreTold(t *testing.T) {
	defer func(d time.Duration) { startWithin = d }(startWithin)
	for script, want := range map[string]string{
		"exit 0":                      ": ended early, with exit status 0: nothing on standard error",
		"echo no such >&2 ;exit 3":    ": ended early, with exit status 3: no such",
		"exec >&-; sleep 0.1; exit 4": ": ended early, with exit status 4: nothing on standard error",
		"exec sleep 60":               ": want it to listen within 100ms, it said: nothing on standard error",
	} {
		startWithin = time.Minute
		if strings.Contains(script, "sleep 60") {
			startWithin = 100 * time.Millisecond
		}
		other := filepath.Join(t.TempDir(), "other")
		if err := os.WriteFile(other, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := startProgram(t.Context(), program{other, other}, nil, "proxy")
		if err == nil || err.Error() != other+" proxy --json"+want {
			t.Errorf("%s: %v, want %s", script, err, want)
		}
	}
}

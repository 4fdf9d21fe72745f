package gate

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	// A name with a space and a parenthesis must not shift the fields.
	line := "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 30 7 7 20 0 1 0 100 1000 10"
	if got, err := parseStat([]byte(line)); err != nil || got != 2800*time.Millisecond {
		t.Errorf("parseStat = %v, %v, want 2.8s", got, err)
	}
	for _, bad := range []string{"", "42", "42 (a) S 1", "42 (a) S 1 42 42 0 -1 4194560 100 0 0 0 x 30 7"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q): no error", bad)
		}
	}
	if _, err := cpuTime(os.Getpid()); err != nil {
		t.Error(err)
	}
	if _, err := cpuTime(0); err == nil {
		t.Error("cpuTime(0): no error")
	}
}

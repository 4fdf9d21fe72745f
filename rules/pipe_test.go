//go:build unix

package rules

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Rules are read again when they change; a pipe gives them once, and nothing the next time.
func TestPipeIsRefused(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	_, err = w.WriteString(rulesText("a"))
	must(t, err)
	must(t, w.Close())
	_, err = Load([]Place{{Path: fmt.Sprintf("/dev/fd/%d", r.Fd())}}, Options{})
	if err == nil || !strings.Contains(err.Error(), "got a pipe") {
		t.Errorf("Load of a pipe: %v, want it refused", err)
	}
}

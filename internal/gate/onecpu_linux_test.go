package gate

import (
	"os/exec"
	"strings"
	"testing"
)

func TestOneCPU(t *testing.T) {
	allowed := func() string {
		t.Helper()
		out, err := exec.Command("grep", "Cpus_allowed_list", "/proc/self/status").Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(strings.TrimPrefix(string(out), "Cpus_allowed_list:"))
	}
	before := allowed()
	undo, err := OneCPU()
	if err != nil {
		t.Fatal(err)
	}
	if got := allowed(); strings.ContainsAny(got, ",-") {
		t.Errorf("a child may use the CPUs %s, want one", got)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if got := allowed(); got != before {
		t.Errorf("afterwards a child may use the CPUs %s, want %s", got, before)
	}
}

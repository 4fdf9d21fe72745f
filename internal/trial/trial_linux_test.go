package trial

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRefuseUsedSparesAHost(t *testing.T) {
	links := []net.Interface{{Name: "lo"}, {Name: "eth0", Flags: net.FlagUp}}
	if err := refuseUsed(links); err == nil || !strings.Contains(err.Error(), "eth0") {
		t.Errorf("refuseUsed = %v, want eth0 refused", err)
	}
	if err := refuseUsed([]net.Interface{{Name: "lo"}, {Name: "sit0"}}); err != nil {
		t.Error(err)
	}
}

func TestExplain(t *testing.T) {
	for err, want := range map[error]string{unix.EPERM: "run as root", unix.ENOSPC: "max_user_namespaces", unix.EINVAL: "CONFIG_USER_NS"} {
		if detail, remedy := Explain(err); detail == "" || !strings.Contains(remedy, want) {
			t.Errorf("Explain(%v) = %q, %q, want %q", err, detail, remedy, want)
		}
	}
}

// What the child says, and that it said nothing, is told.
func TestRunTells(t *testing.T) {
	for _, c := range []struct {
		argv []string
		want string
	}{
		{nil, "no command given"},
		{[]string{"sh", "-c", "echo broken >&2; exit 3"}, "exit status 3: broken"},
		{[]string{"sh", "-c", "echo nonsense"}, "read the answer"},
	} {
		var answer bool
		err := Run(t.Context(), unix.Geteuid() != 0, c.argv, &answer)
		if _, remedy := Explain(errOr(err)); remedy != "" {
			t.Skipf("no namespaces here: %v", err)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Run(%q) = %v, want %q", c.argv, err, c.want)
		}
	}
	var answer bool
	if err := Run(t.Context(), unix.Geteuid() != 0, []string{"echo", "true"}, &answer); err != nil || !answer {
		t.Errorf("Run = %v, answer %v, want true", err, answer)
	}
}

func errOr(err error) error {
	if err == nil {
		return unix.EIO
	}
	return err
}

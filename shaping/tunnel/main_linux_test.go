package tunnel_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/understudy-proxy/understudy/internal/gateway"
)

// role makes the test binary the client behind a link.
const role = "TUNNEL_TEST_ROLE"

// ordinary is a user without privileges; any number would do.
const ordinary = 1000

// TestMain runs the suite with the privileges it has, and, if those are root's, the
// tests of real links once more as an ordinary user.
func TestMain(m *testing.M) {
	gateway.Shim()
	if os.Getenv(role) != "" {
		os.Exit(client(os.Args[1:]))
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if args := strings.Join(os.Args, " "); code == 0 && os.Geteuid() == 0 && !strings.Contains(args, "-test.fuzz") && !strings.Contains(args, "-test.list") && !strings.Contains(args, "-test.bench=") {
		code = asOrdinaryUser()
	}
	os.Exit(code)
}

func asOrdinaryUser() int {
	fmt.Println("real links once more as user", ordinary)
	// By this name the binary can be executed whatever directory it is in.
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestReal", "-test.timeout=5m")
	for _, a := range os.Args[1:] {
		if strings.HasPrefix(a, "-test.run=") || a == "-test.v=true" {
			cmd.Args = append(cmd.Args, a)
		}
	}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "as user", ordinary, ":", err)
		return 1
	}
	return 0
}

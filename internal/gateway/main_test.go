//go:build linux

package gateway_test

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

// role is the environment variable that makes the test binary something else: a
// client, a host process, the whole suite as an ordinary user.
const role = "GATEWAY_TEST_ROLE"

// ordinary is a user without privileges; any number would do.
const ordinary = 1000

// TestMain runs the suite with the privileges it has, and, if those are root's,
// once more as an ordinary user.
func TestMain(m *testing.M) {
	gateway.Shim()
	if play, ok := roles[os.Getenv(role)]; ok {
		os.Exit(play(os.Args[1:]))
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if code == 0 && os.Geteuid() == 0 && !fuzzing() {
		code = asOrdinaryUser()
	}
	os.Exit(code)
}

func fuzzing() bool {
	for _, a := range os.Args[1:] {
		if strings.HasPrefix(a, "-test.fuzz") || strings.HasPrefix(a, "-test.list") || strings.HasPrefix(a, "-test.bench=") {
			return true
		}
	}
	return false
}

func asOrdinaryUser() int {
	fmt.Println("once more as user", ordinary)
	var args []string
	for _, a := range os.Args[1:] {
		for _, keep := range []string{"-test.run=", "-test.v", "-test.short", "-test.count=", "-test.timeout="} {
			if strings.HasPrefix(a, keep) {
				args = append(args, a)
			}
		}
	}
	// By this name the binary can be executed whatever directory it is in.
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "as user", ordinary, ":", err)
		return 1
	}
	return 0
}

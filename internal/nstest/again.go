//go:build linux

package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// ordinary is a user without privileges; any number would do.
const ordinary = 1000

// Again runs this test binary once more as an ordinary user, for a TestMain whose tests
// have passed with root's privileges, and returns the exit code: 0 where there is nothing
// to repeat, because the user is not root, or the run was for fuzzing, benchmarks or a
// list. The flags that begin with one of keep are passed on, after more.
func Again(what string, keep []string, more ...string) (code int) {
	args := os.Args[1:]
	begins := func(a string, with []string) bool {
		return slices.ContainsFunc(with, func(w string) bool { return strings.HasPrefix(a, w) })
	}
	other := []string{"-test.fuzz", "-test.list", "-test.bench="}
	if os.Geteuid() != 0 || slices.ContainsFunc(args, func(a string) bool { return begins(a, other) }) {
		return 0
	}
	fmt.Println(what, "once more as user", ordinary)
	for _, a := range args {
		if begins(a, keep) {
			more = append(more, a)
		}
	}
	// By this name the binary can be executed whatever directory it is in.
	cmd := exec.Command("/proc/self/exe", more...)
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "as user", ordinary, ":", err)
		return 1
	}
	return 0
}

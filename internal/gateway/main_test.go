//go:build linux

package gateway_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/internal/nstest"
	"github.com/understudy-proxy/understudy/internal/umltest"
)

// role is the environment variable that makes the test binary something else: a
// client, a host process, the whole suite as an ordinary user.
const role = "GATEWAY_TEST_ROLE"

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
	if code == 0 && !umltest.Inside() {
		code = nstest.Again("the suite", []string{"-test.run=", "-test.v", "-test.short", "-test.count=", "-test.timeout="})
	}
	os.Exit(code)
}

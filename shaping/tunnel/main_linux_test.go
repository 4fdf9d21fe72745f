package tunnel_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/internal/nstest"
	"github.com/understudy-proxy/understudy/internal/umltest"
)

// role makes the test binary the client behind a link.
const role = "TUNNEL_TEST_ROLE"

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
	if code == 0 && !umltest.Inside() {
		code = nstest.Again("real links", []string{"-test.run=", "-test.v=true"}, "-test.run=^TestReal", "-test.timeout=5m")
	}
	os.Exit(code)
}

package gateway_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/internal/umltest"
)

// TestInUserModeLinux captures in a kernel without nftables for IP, where iptables' tables
// take the rules' place: all steps, real programs, their loopback, resolvers, and the same
// as an ordinary user.
func TestInUserModeLinux(t *testing.T) {
	if _, err := os.Stat("doc.go"); err != nil {
		t.Skip("the suite is run once more, as another user, who does not compile it")
	}
	umltest.Run(t, "^(TestGuest.*|TestProbe|TestHardCodedAddresses|TestAnyResolverIsAnsweredByUs|TestOwnListenerWins|TestPublish)$/udp_127|tcp_::1|4321")
}

func TestGuestOrdinaryUser(t *testing.T) {
	umltest.Guest(t)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^(TestProbe|TestOwnListenerWins)$", "-test.v")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as an ordinary user: %v\n%s", err, out)
	}
}

// That it is iptables which is tested here: this kernel has no way to ask first.
func TestGuestDoesNotAsk(t *testing.T) {
	umltest.Guest(t)
	for _, f := range gateway.Probe(t.Context()) {
		if f.Step == gateway.StepAsk && f.OK {
			t.Error("connections are asked about: this kernel has nftables, and the tests prove nothing about iptables")
		}
	}
}

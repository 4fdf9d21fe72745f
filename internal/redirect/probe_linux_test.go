package redirect

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The binary of the tests plays the hidden subcommand.
func init() {
	if os.Getenv("REDIRECT_TEST_ROLE") != "probe" {
		return
	}
	if err := ProbeMain(os.Stdout); err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

func TestProbe(t *testing.T) {
	got := Probe(t.Context(), "/usr/bin/env", "REDIRECT_TEST_ROLE=probe", os.Args[0])
	switch {
	case strings.HasPrefix(got.Detail, "not tried, for want of a network namespace"):
		t.Skip(got.Detail)
	case os.Geteuid() != 0 && !got.OK && strings.Contains(got.Remedy, "sudo understudy"):
	case !got.OK:
		t.Errorf("Probe = %+v, want OK: the tests of redirection pass here", got)
	}
}

func TestProbeRefusesAHost(t *testing.T) {
	if err := ProbeMain(os.Stdout); err == nil || !strings.Contains(err.Error(), "is no fresh network namespace") {
		t.Errorf("ProbeMain = %v, want a refusal: a link is up here", err)
	}
}

func TestTrial(t *testing.T) {
	if got := failure(nil); got != (Trial{OK: true}) {
		t.Errorf("failure(nil) = %+v", got)
	}
	if got := failure(explain(os.NewSyscallError("netlink", unix.EPERM))); got.OK || got.Detail != "netlink: operation not permitted" || !strings.HasPrefix(got.Remedy, "CAP_NET_ADMIN is needed") {
		t.Errorf("trial = %+v, want detail and remedy apart", got)
	}
}

package app

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/shaping"
)

func TestClientIn(t *testing.T) {
	for environ, want := range map[string]string{
		"A=b\x00SSH_CONNECTION=10.0.0.9 50000 10.0.0.1 22\x00C=d\x00": "10.0.0.9",
		"SSH_CONNECTION=fe80::1%eth0 50000 fe80::2%eth0 22\x00":       "fe80::1",
		"XSSH_CONNECTION=10.0.0.9 1 2 3\x00":                          "",
		"SSH_CONNECTION=\x00":                                         "",
		"":                                                            "",
	} {
		a, ok := clientIn([]byte(environ))
		if ok != (want != "") || ok && a != netip.MustParseAddr(want) {
			t.Errorf("clientIn(%q) = %v, %v, want %q", environ, a, ok, want)
		}
	}
	if _, err := parentOf(os.Getpid()); err != nil {
		t.Skipf("no proc: %v", err)
	}
	if pid, err := parentOf(os.Getpid()); err != nil || pid != os.Getppid() {
		t.Errorf("parentOf = %d, %v, want %d", pid, err, os.Getppid())
	}
}

// Loopback carries what goes to loopback: severe conditions there are refused, mild
// ones are not, and those of another session's link are none of its business.
func TestRefuseToSever(t *testing.T) {
	lo := shaping.Target{Interface: "lo"}
	if ok, err := shaping.Carries(lo, netip.MustParseAddr("127.0.0.1")); err != nil || !ok {
		t.Skipf("Carries(lo) = %v, %v", ok, err)
	}
	t.Setenv("SSH_CONNECTION", "127.0.0.1 50000 127.0.0.1 22")
	if err := RefuseToSever(lo, shaping.Link{Up: shaping.Conditions{Loss: 1}}, nil); err == nil || !strings.Contains(err.Error(), "lo carries the SSH session") {
		t.Errorf("RefuseToSever = %v, want it refused", err)
	}
	if err := RefuseToSever(lo, shaping.Link{Up: shaping.Conditions{Loss: 0.01}}, nil); err != nil {
		t.Errorf("RefuseToSever of 1%% = %v", err)
	}
	_, classes, err := LinkFor(nil, "", "", "", []string{"127.0.0.0/8:22=loss=100%"})
	if err != nil {
		t.Fatal(err)
	}
	if err := RefuseToSever(lo, shaping.Link{}, classes); err == nil || !strings.Contains(err.Error(), "class 127.0.0.0/8:22: 100%") {
		t.Errorf("RefuseToSever of a class = %v, want it refused", err)
	}
	t.Setenv("SSH_CONNECTION", "192.0.2.1 50000 127.0.0.1 22")
	if ok, err := shaping.Carries(lo, netip.MustParseAddr("192.0.2.1")); err == nil && ok {
		t.Error("lo carries 192.0.2.1")
	}
}

func TestContainerPID(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if _, err := containerPID(t.Context(), "shop"); err == nil || !strings.Contains(err.Error(), "none of docker, podman, nerdctl is here") {
		t.Errorf("without engines: %v", err)
	}
	script := func(name, body string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	script("docker", "echo 'no such object: shop' >&2; exit 1")
	if _, err := containerPID(t.Context(), "shop"); err == nil || !strings.Contains(err.Error(), "docker does not know it: no such object") {
		t.Errorf("unknown: %v", err)
	}
	script("podman", `[ "$*" = "inspect --format {{.State.Pid}} -- shop" ] && echo 4711`)
	if pid, err := containerPID(t.Context(), "shop"); err != nil || pid != 4711 {
		t.Errorf("containerPID = %d, %v, want podman's 4711", pid, err)
	}
	script("podman", "echo 0")
	if _, err := containerPID(t.Context(), "shop"); err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("stopped: %v", err)
	}
}

func TestLinkFor(t *testing.T) {
	l, _, err := LinkFor(nil, "delay=40ms", "", "loss=1%", nil)
	if err != nil || l.Down.Delay == 0 || l.Up.Delay != 0 || l.Up.Loss != 0.01 {
		t.Errorf("LinkFor = %+v, %v, want up to win", l, err)
	}
	l, classes, err := LinkFor(nil, "", "", "", []string{":5432=delay=1ms", "10.0.0.0/8,db.test=none"})
	if err != nil || !l.IsZero() || len(classes) != 2 || classes[1].Name != "10.0.0.0/8,db.test" {
		t.Errorf("LinkFor = %v, %v, %v, want two classes alone", l, classes, err)
	}
	_, _, err = LinkFor(nil, "", "", "", []string{":5432=none"})
	if exit, ok := errors.AsType[*ExitError](err); !ok || exit.Code != ExitUsage {
		t.Errorf("LinkFor of a class without conditions = %v, want a usage error", err)
	}
	_, _, err = LinkFor(nil, "", "", "", nil)
	if exit, ok := errors.AsType[*ExitError](err); !ok || exit.Code != ExitUsage {
		t.Errorf("LinkFor of nothing = %v, want a usage error", err)
	}
}

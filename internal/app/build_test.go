package app

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/internal/config"
)

// To a configuration 0 is no bound; to the transport it is its default.
func TestNoBound(t *testing.T) {
	for _, d := range []time.Duration{time.Millisecond, time.Hour} {
		if got := bound(d); got != d {
			t.Errorf("bound(%v) = %v, want the same", d, got)
		}
	}
	if got := bound(0); got < 24*365*time.Hour {
		t.Errorf("bound(0) = %v, want as good as none", got)
	}
	if now := time.Now(); !now.Add(bound(0)).After(now) || !now.Add(-bound(0)).Before(now) {
		t.Error("bound(0) cannot be reckoned with")
	}
}

// What mends a listener depends on what was wrong with it.
func TestListenError(t *testing.T) {
	l := config.Listener{Kind: config.ListenForward, Addr: "192.0.2.1:80"}
	for cause, want := range map[syscall.Errno]string{
		syscall.EADDRINUSE:    "hint: port 0 picks a free one",
		syscall.EADDRNOTAVAIL: "hint: the address is none of this machine's",
		syscall.EACCES:        "hint: ports below 1024 need root",
	} {
		err := listenError(l, &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", cause)})
		if ExitCode(err) != ExitSetup || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, exit code %d; want %q in it and %d", err, ExitCode(err), want, ExitSetup)
		}
	}
	if err := listenError(l, nil); err != nil {
		t.Error(err)
	}
}

//go:build !linux

package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
)

// missing is what other systems lack.
func missing() *StepError {
	return &StepError{
		Step:   StepSystem,
		Err:    errors.New(runtime.GOOS + " has no network namespaces: a command cannot be given a network of its own"),
		Remedy: "use --forward, which sets the proxy variables for the command, or run it in a Linux virtual machine or container",
	}
}

func start(context.Context, Options) (*Gateway, error) { return nil, missing() }

func probe(context.Context) []Finding {
	m := missing()
	return []Finding{{Step: m.Step, Needed: true, Detail: m.Err.Error(), Remedy: m.Remedy}}
}

func shimIfAny() {}

type ahead struct{}

func begin(*Options, bool, bool) *Ahead { return &Ahead{} }

func (*ahead) close() {}

func unprepare() {}

func endOrphans(context.Context) []int { return nil }

// capture is never made here: start fails.
type capture struct {
	listeners []net.Listener
	down, up  Link
}

func (*capture) name(netip.Addr) (string, bool) { return "", false }
func (*capture) madeUp(netip.Addr) bool         { return false }
func (*capture) probes() (down, up ProbeEnd)    { return down, up }
func (*capture) refusedUDP() []RefusedUDP       { return nil }
func (*capture) publishedAt() []netip.AddrPort  { return nil }
func (*capture) signal(syscall.Signal) error    { return os.ErrProcessDone }
func (*capture) wait() (int, error)             { return 0, os.ErrProcessDone }
func (*capture) close() error                   { return nil }

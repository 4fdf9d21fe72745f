package app

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"sync"

	"github.com/understudy-proxy/understudy/internal/gate"
	"github.com/understudy-proxy/understudy/internal/gateway"
)

// capturedHost is what a captured load asks for: no resolver knows it, so that its
// requests go the way of every name, by an address made up and the link to the gateway.
// Those to the loopback have a shorter one.
const capturedHost = "upstream.test"

// captured runs the load behind --, in namespaces of its own.
func captured(up *gate.Upstream, _ string) (setting, error) {
	u, err := url.Parse(up.URL)
	if err != nil {
		return setting{}, err
	}
	name := capturedHost + ":" + u.Port()
	args := []string{"proxy", "--capture", "namespace", "--set", fmt.Sprintf("upstream.connect_to={%q: %q}", name, u.Host)}
	return setting{args, func(*Self) gate.Endpoint { return gate.Endpoint{URL: "http://" + name} }}, nil
}

// canCapture says once why this machine cannot capture a command; nil where it can.
var canCapture = sync.OnceValue(func() error {
	for _, f := range gateway.Probe(context.Background()) {
		if f.Needed && !f.OK {
			return fmt.Errorf("this machine cannot capture a command: %s: %s (understudy doctor says what mends it)", f.Step, f.Detail)
		}
	}
	return nil
})

// startCaptured starts program with the gate's load as its captured command. stop ends
// both and removes dir.
func startCaptured(ctx context.Context, program string, set setting, dir string) (at gate.Endpoint, stop func() error, err error) {
	if err := canCapture(); err != nil {
		return at, nil, &gate.CannotError{Err: err}
	}
	exe, err := os.Executable()
	if err != nil {
		return at, nil, err
	}
	argv := slices.Concat([]string{program}, set.args, common(dir, false), []string{"--", exe, "gate-load"})
	load, pid, end, err := gate.StartLoader(ctx, ownEnviron(os.Environ(), dir), argv...)
	if err != nil {
		return at, nil, err
	}
	at = set.at(nil)
	at.Load, at.PID = load, pid
	return at, func() error { return errors.Join(end(), os.RemoveAll(dir)) }, nil
}

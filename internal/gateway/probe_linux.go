package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/understudy-proxy/understudy/internal/gateway/shim"
)

// probeName and probeAnswer are what the trial asks for and hears.
const (
	probeName   = "probe.understudy.test"
	probeAnswer = "captured"
)

// trial are the steps that probe reports, in their order.
var trial = []Step{StepStart, StepUser, StepPowers, StepNetwork, StepLink, StepCatch, StepLocal, StepAsk, StepSockets, StepMount, StepHand, StepName, StepConnect}

func probe(ctx context.Context) []Finding {
	var done []Step
	err := tryAll(ctx, func(s Step) { done = append(done, s) })
	return findings(done, err, shim.Powers() == nil)
}

// findings tells of each step what is known when those in done went well and err
// ended the rest.
func findings(done []Step, err error, privileged bool) (all []Finding) {
	var failed *StepError
	if err != nil && !errors.As(err, &failed) {
		failed = &StepError{Step: StepConnect, Err: err}
	}
	over := false
	for _, s := range trial {
		f := Finding{Step: s, Needed: s != StepAsk}
		switch {
		case failed != nil && failed.Step == s:
			f.Detail, f.Remedy = failed.Err.Error(), failed.Remedy
			over = true
		case over:
			f.Detail = "not tried"
		case s == StepUser && privileged:
			f.OK, f.Detail = true, "not needed: this process has the powers"
		case s == StepAsk && !slices.Contains(done, s):
			f.Detail = "this kernel has no NFQUEUE: a connection that cannot be made is accepted first and then reset"
			f.Remedy = "sudo modprobe -a nfnetlink_queue nft_queue"
		default:
			f.OK = true
		}
		all = append(all, f)
	}
	return all
}

// clientName is the first argument of the trial's command, which is this program
// again. Its exit codes tell how far it came.
const (
	clientName      = "understudy-gateway-probe"
	clientNoName    = 3
	clientNoAnswer  = 4
	clientHasAnswer = 0
)

// client asks for the name and connects, as any program would.
func client() (code int) {
	addrs, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip4", probeName)
	if err != nil || len(addrs) == 0 {
		return clientNoName
	}
	conn, err := net.Dial("tcp", netip.AddrPortFrom(addrs[0], 80).String())
	if err != nil {
		return clientNoAnswer
	}
	defer conn.Close()
	if text, _ := io.ReadAll(conn); string(text) != probeAnswer {
		return clientNoAnswer
	}
	return clientHasAnswer
}

// tryAll captures such a client. done hears of each step that went well.
func tryAll(ctx context.Context, done func(Step)) error {
	c, err := open(ctx, &Options{}, shim.Command{Path: "/proc/self/exe", Argv: []string{clientName}, Env: os.Environ()},
		done)
	if err != nil {
		return err
	}
	defer func() { _ = c.close() }()
	arrived := make(chan error, 1)
	go func() { // ends with the listener, which close closes
		conn, err := c.listeners[0].Accept()
		if err != nil {
			arrived <- err
			return
		}
		defer conn.Close()
		at := conn.LocalAddr().(*net.TCPAddr).AddrPort()
		if name, _ := c.name(at.Addr()); name != probeName || at.Port() != 80 {
			arrived <- fmt.Errorf("a connection to %s port 80 arrived as if to %s", probeName, at)
			return
		}
		_, err = conn.Write([]byte(probeAnswer))
		arrived <- err
	}()
	if err := c.runCommand(clientName); err != nil {
		return err
	}
	switch code, err := c.wait(); {
	case err != nil:
		return &StepError{Step: StepConnect, Err: err}
	case code == clientNoName:
		return &StepError{Step: StepName, Err: errors.New("a name did not resolve")}
	case code != clientHasAnswer:
		return &StepError{Step: StepConnect, Err: errors.New("a connection did not arrive")}
	}
	if err := <-arrived; err != nil {
		return &StepError{Step: StepConnect, Err: err}
	}
	return nil
}

func shimIfAny() {
	if len(os.Args) == 1 && os.Args[0] == clientName {
		os.Exit(client())
	}
}

package gateway

import (
	"errors"
	"syscall"
	"testing"

	"github.com/understudy-proxy/understudy/internal/gateway/shim"
)

// A shim that was killed after it was told to run the command may have begun it. The error
// is none after which the caller may run it in another way: it would run twice.
func TestKilledAsTheCommandBegins(t *testing.T) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &capture{parent: shim.NewLine(pair[0])}
	defer c.parent.Close()
	told := make(chan error, 1)
	go func() { // ends with the first message
		other := shim.NewLine(pair[1])
		_, _, err := other.Receive()
		other.Close()
		told <- err
	}()
	err = c.runCommand("anything")
	if said := <-told; said != nil {
		t.Fatal(said)
	}
	if step, is := errors.AsType[*StepError](err); err == nil || is {
		t.Errorf("runCommand() = %v, %v, want an error of no step", err, step)
	}
}

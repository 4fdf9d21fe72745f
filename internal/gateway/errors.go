package gateway

import (
	"fmt"

	"github.com/understudy-proxy/understudy/internal/gateway/shim"
)

// Step is one thing that must succeed for a command to be captured.
type Step string

// The steps, in their order.
const (
	StepSystem  Step = "system"         // the operating system has namespaces at all
	StepStart   Step = shim.StepStart   // this program executes itself in new namespaces
	StepUser    Step = "user namespace" // an ordinary user may have one
	StepPowers  Step = shim.StepPowers  // and has its capabilities
	StepNetwork Step = shim.StepNetwork // a second network namespace
	StepLink    Step = shim.StepLink    // a veth pair, addresses, routes
	StepCatch   Step = shim.StepCatch   // nftables, or iptables, with TPROXY, on the gateway's side
	StepLocal   Step = shim.StepLocal   // the same for the command's loopback
	StepAsk     Step = shim.StepAsk     // NFQUEUE: refuse what cannot be connected; not needed
	StepSockets Step = shim.StepSockets // transparent listeners, DNS, raw UDP
	StepMount   Step = shim.StepMount   // private mounts over resolv.conf and others
	StepHand    Step = shim.StepHand    // their descriptors reach this process
	StepName    Step = "name"           // a name resolves
	StepConnect Step = "connection"     // a connection arrives with its original destination
)

// StepError says which step failed, why, and what mends it. Wherever Start
// returns one, nothing was left behind and another way of capturing may be tried.
type StepError struct {
	Step   Step
	Err    error
	Remedy string // a sentence or command for people; empty if none is known
}

// Error gives the step, its cause, and the remedy on a line of its own.
func (e *StepError) Error() string {
	text := fmt.Sprintf("capture: %s: %v", e.Step, e.Err)
	if e.Remedy != "" {
		text += "\nhint: " + e.Remedy
	}
	return text
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// CommandError says that the command could not be run at all. Code is the exit
// code that a shell would give: 127 if it was not found, else 126.
type CommandError struct {
	Name string
	Code int
	Err  error
}

// Error gives the command and why it did not run.
func (e *CommandError) Error() string { return fmt.Sprintf("run %s: %v", e.Name, e.Err) }

// Unwrap returns the cause.
func (e *CommandError) Unwrap() error { return e.Err }

// Finding is what became of one step of a trial.
type Finding struct {
	Step   Step
	OK     bool
	Needed bool   // without it there is no capture
	Detail string // what was found; for a step not reached, that it was not tried
	Remedy string
}

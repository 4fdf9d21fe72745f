package app

import (
	"errors"
	"fmt"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// Exit codes, a contract with scripts (docs/commands.md).
const (
	ExitOK           = 0
	ExitUsage        = 2
	ExitInconclusive = 97
	ExitMisses       = 98
	ExitGate         = 99
	ExitBadInput     = 104
	ExitSetup        = 125
	ExitNotRun       = 126
	ExitNotFound     = 127
)

// ExitError is an error that knows the exit code it stands for.
type ExitError struct {
	Code int
	Err  error // nil for a code that needs no words
}

// Error gives the cause.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// BadInput marks err as a fault of what a person wrote.
func BadInput(err error) error { return coded(ExitBadInput, err) }

// Setup marks err as something that this machine would not let us do.
func Setup(err error) error { return coded(ExitSetup, err) }

// Usage marks err as a fault of the command line.
func Usage(err error) error { return coded(ExitUsage, err) }

// coded gives err a code, unless it has one.
func coded(code int, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*ExitError](err); ok {
		return err
	}
	return &ExitError{Code: code, Err: err}
}

// ExitCode is the exit code for err: its own, 104 for an error with a place,
// 125 for any other, 0 for nil.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	if e, ok := errors.AsType[*ExitError](err); ok {
		return e.Code
	}
	if _, ok := errors.AsType[*place.Error](err); ok {
		return ExitBadInput
	}
	if _, ok := errors.AsType[place.List](err); ok {
		return ExitBadInput
	}
	return ExitSetup
}

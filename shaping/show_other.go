//go:build !linux

package shaping

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func unsupported(what string) error {
	return fmt.Errorf("%s: %w on %s: qdiscs are Linux's (hint: run understudy in a Linux VM or container)", what, errors.ErrUnsupported, runtime.GOOS)
}

// Interfaces returns the interfaces of a network namespace. Here it is
// errors.ErrUnsupported.
func Interfaces(*os.File) ([]Interface, error) { return nil, unsupported("list links") }

// Show reads the qdiscs and classes of an interface. Here it is errors.ErrUnsupported.
func Show(t Target) (State, error) { return State{}, unsupported("show " + t.Interface) }

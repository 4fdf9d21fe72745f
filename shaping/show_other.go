//go:build !linux

package shaping

import (
	"errors"
	"fmt"
	"runtime"
)

func unsupported(what string) error {
	return fmt.Errorf("%s: %w on %s: qdiscs are Linux's (hint: run understudy in a Linux VM or container)", what, errors.ErrUnsupported, runtime.GOOS)
}

// Links returns the links of the current network namespace. Here it is
// errors.ErrUnsupported.
func Links() ([]Link, error) { return nil, unsupported("list links") }

// Show reads the qdiscs and classes of a link. Here it is errors.ErrUnsupported.
func Show(link string) (State, error) { return State{}, unsupported("show " + link) }

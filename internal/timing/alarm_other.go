//go:build !linux

package timing

import (
	"errors"
	"fmt"
)

// alarm has no portable form: elsewhere the clock waits on the runtime's timers.
type alarm struct{}

func newAlarm(int64) (*alarm, error) {
	return nil, fmt.Errorf("create alarm: %w", errors.ErrUnsupported)
}

func kernelOffset(func() int64) (int64, error) { return 0, nil }

func (*alarm) wait(func(uintptr) bool) error { return errors.ErrUnsupported }
func (*alarm) set(uintptr, int64) error      { return errors.ErrUnsupported }
func (*alarm) hold(func(uintptr)) error      { return errors.ErrUnsupported }
func (*alarm) close()                        {}

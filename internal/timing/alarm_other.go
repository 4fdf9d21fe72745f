//go:build !linux

package timing

import (
	"errors"
	"fmt"
)

// alarm has no portable form: elsewhere the clock waits on the runtime's timers.
type alarm struct{}

func newAlarm(func() int64) (*alarm, error) {
	return nil, fmt.Errorf("create alarm: %w", errors.ErrUnsupported)
}

func (*alarm) set(int64) error { return errors.ErrUnsupported }
func (*alarm) wait() error     { return errors.ErrUnsupported }
func (*alarm) close()          {}

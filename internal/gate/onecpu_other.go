//go:build !linux

package gate

import "errors"

// OneCPU reports that it cannot be done here.
func OneCPU() (undo func() error, err error) {
	return nil, errors.New("keeping processes on one CPU is for Linux alone")
}

//go:build !linux

package gate

import (
	"errors"
	"time"
)

// cpuTime has no portable source.
func cpuTime(int) (time.Duration, error) {
	return 0, errors.New("CPU time of another process is read on Linux only")
}

// residentSize has none either.
func residentSize(int) (int64, error) {
	return 0, errors.New("memory of another process is read on Linux only")
}

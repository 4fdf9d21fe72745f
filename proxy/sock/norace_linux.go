//go:build linux && !race

package sock

import "syscall"

// See race_linux.go.

func raceRead(uintptr, []byte, uintptr, syscall.Errno) {}

func raceWrite() {}

func raceWritten([]byte, uintptr, syscall.Errno) {}

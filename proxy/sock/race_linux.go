//go:build linux && race

package sock

import (
	"runtime"
	"syscall"
	"unsafe"
)

// The race detector sees neither what a raw call reads and writes nor that what one
// side sent came before what the other side got. Package syscall tells it, of the
// calls that are its own: what is private to it is told by calls that do nothing else.

func raceRead(fd uintptr, p []byte, n uintptr, errno syscall.Errno) {
	if errno != 0 {
		return
	}
	if n > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(unsafe.SliceData(p)), int(n))
	}
	_, _ = syscall.Read(int(fd), nil) // of no bytes: a socket has it succeed, whatever is there
}

func raceWrite() { _, _ = syscall.Write(-1, nil) }

func raceWritten(p []byte, n uintptr, errno syscall.Errno) {
	if errno == 0 && n > 0 {
		runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(p)), int(n))
	}
}

package recorder

import (
	"os"

	"golang.org/x/sys/unix"
)

// uncache lets the page cache go of f from one offset to another, 0 for the end, where
// it is on the disk. What is recorded next takes the same memory: a long recording
// does not push out what others read, nor touch ever new memory, which is dear where
// the machine is a guest.
func uncache(f *os.File, from, to int64) {
	_ = unix.Fadvise(int(f.Fd()), from, max(to-from, 0), unix.FADV_DONTNEED) // it is advice
}

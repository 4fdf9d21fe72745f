package recorder

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// uncache lets the page cache go of f from one offset to another, where it is on the
// disk. What is recorded next takes the same memory: a long recording does not push
// out what others read, nor touch ever new memory, which is dear where the machine is
// a guest.
//
// That takes 0.2 ms and more a MiB, so others have their turn between. A piece of the
// page cache that a part's beginning cuts is let go of by the next, which begins
// before it: looking for what has gone already costs next to nothing.
func uncache(f *os.File, from, to int64) {
	fd := int(f.Fd())
	for at := from; at < to; at += uncachePart {
		start := max(from, at-uncacheLag)
		_ = unix.Fadvise(fd, start, min(at+uncachePart, to)-start, unix.FADV_DONTNEED) // it is advice
		runtime.Gosched()
	}
}

// uncachePart is how many bytes are let go of at a time.
const uncachePart = 512 << 10

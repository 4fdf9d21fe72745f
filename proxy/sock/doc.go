// Package sock reads and writes TCP connections without leaving the Go
// scheduler's sight: a socket that never blocks needs none of what the runtime
// does around a system call that might.
//
// The net package tells the scheduler of each read and write, so that another
// thread can take the processor over while the call lasts. On a socket in
// non-blocking mode the call never lasts, but on a busy machine the scheduler's
// monitor takes the processor away all the same, and threads change places for
// nothing. Here the calls are made raw; waiting is the netpoller's as ever, and
// so are deadlines and closing.
//
// It changes no byte and no error, and knows no protocol.
package sock

import "time"

// Room lends memory to a read, once there may be something to read: while
// thousands of connections wait, none of them holds any, and what they are lent is
// what the last one used and the processor's caches still have.
type Room interface {
	// Take returns the memory. It is not empty.
	Take() []byte
	// Drop takes it back where nothing was read into it.
	Drop()
}

// Sent is what became of a write that a read followed.
type Sent struct {
	At  time.Time // when the last byte was handed to the kernel; zero where Err is set
	Err error
}

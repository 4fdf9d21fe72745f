//go:build linux

package sock

import (
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/understudy-proxy/understudy/internal/timing"
)

const (
	// lookEvery is how often all connections that are waited for are looked at: a few
	// thousand of them cost a hundredth of a processor.
	lookEvery = 50 * time.Millisecond
	// lookAt is how many are looked at with one call, which nothing else on this
	// processor can come between.
	lookAt = 64
)

// theVigil knows whom to tell when the other side of a connection has left that nobody
// waits to read from: because it is served within a read of it, where the netpoller cannot
// be asked; or because to wait costs a goroutine that somebody has to interrupt again.
var theVigil vigil

type vigil struct {
	mu    sync.Mutex
	kept  []kept // where each stands is in its connection's each.kept
	timer *time.Timer
	armed bool
	fds   [lookAt]pollFd
}

// kept is a connection that somebody waits for the end of.
type kept struct {
	c    *Conn
	fd   int32
	left func()
}

// WhenEnded has left called, once and soon, when the other side has ended its stream
// or the connection, whatever is still to be read, or this side has closed it, unless
// Forget was called before. Where it returns false this cannot be had. It may be called
// again only after Forget.
func (c *Conn) WhenEnded(left func()) bool {
	k := kept{c: c, left: left}
	if c.in.raw.Control(func(fd uintptr) { k.fd = int32(fd) }) != nil {
		go left() // closed. Owned by the caller, as if it had come later
		return true
	}
	v := &theVigil
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept = append(v.kept, k)
	c.each.kept = len(v.kept)
	if !v.armed {
		v.armed = true
		v.timer = timing.Rearm(v.timer, lookEvery, v.look)
	}
	return true
}

// Forget undoes WhenEnded; a call of left that is under way already goes on.
func (c *Conn) Forget() {
	v := &theVigil
	v.mu.Lock()
	defer v.mu.Unlock()
	v.forget(c)
}

// forget takes c out, and puts the last in its place. mu is held.
func (v *vigil) forget(c *Conn) {
	at := c.each.kept - 1
	if at < 0 {
		return
	}
	c.each.kept = 0
	end := len(v.kept) - 1
	if at < end {
		v.kept[at] = v.kept[end]
		v.kept[at].c.each.kept = at + 1
	}
	v.kept[end] = kept{}
	v.kept = v.kept[:end]
}

// look tells of those that have left. It runs in the timer's goroutine. One that
// changes its place meanwhile may be seen next time only.
func (v *vigil) look() {
	v.mu.Lock()
	for end := len(v.kept); end > 0; {
		from := max(end-lookAt, 0)
		for _, k := range v.ended(from, end) {
			v.mu.Unlock()
			k.left()
			v.mu.Lock()
		}
		v.mu.Unlock() // who ends a request need not wait for all of them
		v.mu.Lock()
		end = min(from, len(v.kept))
	}
	if v.armed = len(v.kept) > 0; v.armed {
		v.timer.Reset(lookEvery)
	}
	v.mu.Unlock()
}

// ended takes those out of kept[from:end] that have left. mu is held.
func (v *vigil) ended(from, end int) (gone []kept) {
	now := syscall.Timespec{}
	fds := v.fds[:end-from]
	for i := range fds {
		fds[i] = pollFd{fd: v.kept[from+i].fd, events: pollRdhup}
	}
	n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)), uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	if errno != 0 || n == 0 {
		return nil
	}
	for i := range fds {
		if k := v.kept[from+i]; fds[i].revents != 0 && k.c.Ended() { // asked again, of the connection itself
			gone = append(gone, k)
		}
	}
	for _, k := range gone {
		v.forget(k.c)
	}
	return gone
}

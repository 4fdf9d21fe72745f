package tunnel

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/emulator"
)

const (
	// early is how long before its moment a packet may be delivered. At high rates
	// packets go in groups of that length, and to wake up for each would cost more than
	// it brings.
	early = 50 * time.Microsecond
	// longestLead bounds how early a wait is meant to end, so that waking up, which takes
	// a time of its own, ends at the moment.
	longestLead = 250 * time.Microsecond
	// forever is a wait until a packet comes.
	forever = time.Duration(-1)
	// longestFrame is a packet of 64 KiB with all that stands before it.
	longestFrame = packetAt + 1<<16
	// readsAtOnce is how many frames are taken before the lock is let go.
	readsAtOnce = 32
)

// piece is one packet of a frame.
type piece struct {
	f *frame
	i int
}

// pump carries one direction.
type pump struct {
	from, to int // from is the pump's own, to is the other's
	begin    time.Time
	lead     time.Duration // what waking up has lately taken
	latest   time.Duration // when the last frame came
	room     []byte        // of one frame that is read
	head     []byte        // of one frame that is cut
	frames   frames

	mu    sync.Mutex // guards what follows
	paths paths
}

// newPump carries from one end to the other; fromUser says that the first is the user's.
func newPump(from, to int, fromUser bool, names Names, begin time.Time) *pump {
	return &pump{from: from, to: to, begin: begin, room: make([]byte, longestFrame), head: make([]byte, most),
		paths: newPaths(fromUser, names)}
}

func (p *pump) now() time.Duration { return time.Since(p.begin) }

// change puts conditions in force: the link's own and, by position, those of its classes,
// which come with them.
func (p *pump) change(own shaping.Conditions, classes []shaping.LinkClass, d shaping.Direction, seeds Seeds) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := max(p.now(), p.latest)
	p.paths.set(classes)
	p.paths.own.e.Change(now, own, seeds("", d))
	for i := range classes {
		c := &classes[i]
		p.paths.classes[i].e.Change(now, *c.Link.Of(d), seeds(c.Name, d))
	}
}

func (p *pump) restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paths.each(func(one *path) { one.e.Restart(p.now()) })
}

func (p *pump) counters(class string) shaping.Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.paths.own
	if class != "" {
		if one = p.paths.class(class); one == nil {
			return shaping.Counters{}
		}
	}
	return one.e.Counters()
}

func (p *pump) move(k flow, class string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paths.move(k, class, p.now())
}

func (p *pump) end(k flow) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paths.end(k, p.now())
}

// probe leads ICMP through a class, or again its own way, "".
func (p *pump) probe(class string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paths.probed = p.paths.class(class)
}

// run carries until wake can be read.
func (p *pump) run(wake int) error {
	// The thread is not let go: its exact timers end with it.
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	fds := []unix.PollFd{{Fd: int32(p.from), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
	comes, slept := true, false
	for {
		wait, err := p.step(comes, slept)
		if err != nil {
			return err
		}
		until := p.now() + wait
		n, err := poll(fds, wait)
		switch {
		case err != nil:
			return err
		case fds[1].Revents != 0:
			return nil
		case n == 0 && wait > 0:
			p.learn(p.now() - until)
		}
		comes = fds[0].Revents != 0
		slept = comes && wait != 0
	}
}

// learn keeps the mean of what waking up takes.
func (p *pump) learn(late time.Duration) {
	p.lead += (min(late, longestLead) - p.lead) / 8
}

// step takes what has come, where something has, delivers what is due, and returns how
// long there is nothing to do. What woke this thread up came as long ago as that takes.
func (p *pump) step(comes, slept bool) (wait time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range readsAtOnce {
		if !comes {
			break
		}
		came := p.now()
		if slept {
			came, slept = max(came-p.lead, p.latest), false
		}
		p.latest = came
		if comes, err = p.read(came); err != nil {
			return 0, err
		}
		p.deliver(p.now())
	}
	now := p.now()
	p.deliver(now)
	at, holds := p.paths.next()
	switch {
	case comes:
		return 0, nil
	case !holds:
		return forever, nil
	}
	return max(at-p.lead-now, 0), nil
}

// read takes one frame that came at a moment; false where none has come.
func (p *pump) read(came time.Duration) (more bool, err error) {
	n, errno := readFD(p.from, p.room)
	switch errno {
	case 0:
		if n < packetAt { // nothing more comes from a device that gives no frames
			return false, errGone
		}
	case unix.EAGAIN:
		return false, nil
	case unix.EINTR:
		return true, nil
	case unix.EBADFD, unix.ENETDOWN, unix.ENXIO, unix.ENODEV:
		return false, errGone
	default:
		return false, os.NewSyscallError("read", errno)
	}
	f := p.frames.scratch(p.room[:n])
	f.parse()
	e := p.paths.of(f, came).e
	if e.Idle() {
		p.write(f.data, nil)
		e.Passed(f.segments, f.bytes())
		return true, nil
	}
	held := p.frames.hold(f)
	marks := f.marks()
	for i := range held.segments {
		held.refs += e.Put(came, held.size(i), marks, piece{held, i})
	}
	if held.refs == 0 {
		p.frames.free(held)
	}
	return true, nil
}

// deliver writes what is due, or almost.
func (p *pump) deliver(now time.Duration) {
	p.paths.each(func(one *path) { p.deliverFrom(one.e, now+early) })
	p.paths.left()
}

// deliverFrom writes what one way has due.
func (p *pump) deliverFrom(e *emulator.Emulator[piece], by time.Duration) {
	d, ok := e.Take(by)
	for ok {
		f, first, next := d.Payload.f, d.Payload.i, d.Payload.i+1
		plain := !d.Mark && !d.Damaged
		held := 1
		var after emulator.Due[piece]
		// What belongs together and is due together goes in one piece.
		for {
			after, ok = e.Take(by)
			if !ok || !plain || after.Payload != (piece{f, next}) || after.Mark || after.Damaged {
				break
			}
			next++
			held++
		}
		head, rest := f.cut(first, next, p.head)
		if plain {
			p.write(head, rest)
		} else {
			p.writeChanged(f, &d, head, rest)
		}
		if f.refs -= held; f.refs == 0 {
			p.frames.free(f)
		}
		d = after
	}
}

// writeChanged writes a packet that is marked or damaged.
func (p *pump) writeChanged(f *frame, d *emulator.Due[piece], head, rest []byte) {
	whole := append(append(make([]byte, 0, len(head)+len(rest)), head...), rest...)
	if d.Mark {
		mark(whole, f.ethertype)
	}
	if d.Damaged {
		damage(whole, d.Damage)
	}
	p.write(whole, nil)
}

// write gives a frame to the other end. What that does not take, because it is down or
// has no memory, is lost, as on any link.
func (p *pump) write(head, rest []byte) {
	for writeFD(p.to, head, rest) == unix.EINTR {
	}
}

// errGone says that an end is gone, as it is once its namespace ends.
var errGone = errors.New("an end of the link is gone")

// poll waits for a descriptor, for as long as wait says.
func poll(fds []unix.PollFd, wait time.Duration) (n int, err error) {
	var ts *unix.Timespec
	if wait != forever {
		t := unix.NsecToTimespec(int64(wait))
		ts = &t
	}
	n, err = unix.Ppoll(fds, ts, nil)
	switch {
	case err == unix.EINTR:
		fds[0].Revents, fds[1].Revents = 0, 0
		return -1, nil
	case err != nil:
		return 0, os.NewSyscallError("ppoll", err)
	case fds[1].Revents == 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0:
		return 0, errGone
	}
	return n, nil
}

// readFD reads without telling the scheduler: it does not block.
func readFD(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

// writeFD likewise writes a frame in two pieces.
func writeFD(fd int, head, rest []byte) syscall.Errno {
	if len(rest) == 0 {
		_, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&head[0])), uintptr(len(head)))
		return errno
	}
	v := [2]unix.Iovec{{Base: &head[0]}, {Base: &rest[0]}}
	v[0].SetLen(len(head))
	v[1].SetLen(len(rest))
	_, _, errno := syscall.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&v[0])), 2)
	return errno
}

package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway/dns"
	"github.com/understudy-proxy/understudy/internal/gateway/shim"
)

// capture is this process's side of a captured command.
type capture struct {
	parent *shim.Line
	poll   *os.File // what waits for it
	pid    int      // the shim's process

	names    dns.Names
	hosts    map[netip.Addr]string
	answerer *dns.Answerer

	listeners []net.Listener
	down, up  Link
	inode     uint64 // of the command's network namespace
	asksFirst bool
	books     udpBooks

	files      [shim.Roles]*os.File // what was handed over and is not in use otherwise
	dnsPackets []*net.UDPConn
	dnsStreams []net.Listener
	published  []net.Listener

	socketMu sync.Mutex      // one request for a socket at a time
	sockets  chan socketGift // what came of it

	mu      sync.Mutex // guards what follows
	reaped  bool       // the shim is gone and its number may be another's
	command int

	gone      chan struct{} // closed when the shim is gone
	inOrder   bool          // it ended by itself: nothing of the command is left; read when it is gone
	ended     chan struct{} // closed when the command has ended, or will never be heard of again
	code      int
	err       error
	endedOnce sync.Once

	ctx          context.Context // what is served ends with it
	cancel       context.CancelFunc
	stopWatching func() bool
	serving      sync.WaitGroup
	closing      sync.Once
	left         error // what close could not end
}

// socketGift is a socket made in the command's namespace.
type socketGift struct {
	fd  int
	err error
}

func newCapture(pid int, parent *shim.Line, o *Options) *capture {
	c := &capture{
		parent: parent, pid: pid, sockets: make(chan socketGift, 1),
		gone: make(chan struct{}), ended: make(chan struct{}), hosts: readHosts("/etc/hosts"),
	}
	c.poll, _ = polled(parent) // where that is not to be had its system calls wait
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.answerer = &dns.Answerer{Names: &c.names}
	if host, err := os.Hostname(); err == nil {
		c.answerer.Own = []string{host}
	}
	if o.Resolver != nil {
		c.answerer.Decide = o.Resolver.Resolve
	}
	go c.reap() // ends with the shim; close waits for it
	return c
}

// reap waits for the shim's end.
func (c *capture) reap() {
	awaitEnd(c.pid) // the number stays the shim's until it is collected under the lock
	var status unix.WaitStatus
	c.mu.Lock()
	_, err := unix.Wait4(c.pid, &status, 0, nil)
	c.reaped = true
	c.mu.Unlock()
	c.inOrder = err == nil && status.Exited() && status.ExitStatus() == 0
	close(c.gone)
}

// kill ends the shim, and with it the command, at once.
func (c *capture) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		_ = unix.Kill(c.pid, unix.SIGKILL)
	}
}

// killCommand does so unless the command has ended: what it left running is close's.
func (c *capture) killCommand() {
	select {
	case <-c.ended:
	default:
		c.kill()
	}
}

var errWatcherGone = errors.New("the process that watches over the command was killed, and the command with it")

// runCommand lets the shim execute the command. Once it was told to, the command may have
// run: an error is no StepError then.
func (c *capture) runCommand(name string) error {
	if err := c.parent.Send(shim.Note{Kind: shim.TellsGo}); err != nil {
		return &StepError{Step: StepStart, Err: errShimGone}
	}
	n, _, err := c.parent.Receive()
	switch {
	case err != nil:
		return errWatcherGone
	case n.Kind == shim.SaysNotRun:
		code := 126
		if syscall.Errno(n.Errno) == syscall.ENOENT {
			code = 127
		}
		return &CommandError{Name: name, Code: code, Err: shimFailed(n)}
	case n.Kind != shim.SaysRuns:
		return fmt.Errorf("an unexpected note of kind %d from the shim", n.Kind)
	}
	c.mu.Lock()
	c.command = n.Number
	c.mu.Unlock()
	c.serving.Go(c.listen)
	return nil
}

// listen hears what the shim says until it is gone.
func (c *capture) listen() {
	for {
		n, fds, err := c.parent.Receive()
		if err != nil {
			break
		}
		switch n.Kind {
		case shim.SaysEnded:
			status := syscall.WaitStatus(n.Number)
			code := status.ExitStatus()
			if status.Signaled() {
				code = 128 + int(status.Signal())
			}
			c.end(code, nil)
		case shim.SaysSocket:
			gift := socketGift{err: shimFailed(n)}
			if len(fds) == 1 {
				gift = socketGift{fd: fds[0]}
			}
			c.sockets <- gift
		}
	}
	c.end(128+int(syscall.SIGKILL), errWatcherGone)
	close(c.sockets)
}

func (c *capture) end(code int, err error) {
	c.endedOnce.Do(func() {
		c.code, c.err = code, err
		close(c.ended)
	})
}

func (c *capture) wait() (int, error) {
	<-c.ended
	return c.code, c.err
}

func (c *capture) commandPID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.command
}

func (c *capture) signal(n syscall.Signal) error {
	select {
	case <-c.ended:
		return os.ErrProcessDone
	default:
	}
	if c.commandPID() == 0 {
		return os.ErrInvalid
	}
	if c.parent.Send(shim.Note{Kind: shim.TellsSignal, Number: int(n)}) != nil {
		return os.ErrProcessDone
	}
	return nil
}

// name finds the name behind an address.
func (c *capture) name(addr netip.Addr) (string, bool) {
	addr = addr.Unmap()
	if host, ok := c.names.Name(addr); ok {
		return host, true
	}
	host, ok := c.hosts[addr]
	if !ok && (addr == netip.IPv6Loopback() || addr == netip.AddrFrom4([4]byte{127, 0, 0, 1})) {
		return "localhost", true
	}
	return host, ok
}

func (c *capture) madeUp(addr netip.Addr) bool {
	_, ok := c.names.Name(addr.Unmap())
	return ok
}

// patience is how long Close waits for the shim beyond its own grace.
const patience = 3 * time.Second

func (c *capture) close() error {
	c.closing.Do(func() {
		if c.stopWatching != nil {
			c.stopWatching()
		}
		if c.parent.Send(shim.Note{Kind: shim.TellsEnd}) == nil {
			select {
			case <-c.gone:
			case <-time.After(shim.Grace + patience):
				c.kill()
			}
		}
		<-c.gone
		c.left = c.sweep()
		c.cancel()
		for _, l := range c.listeners {
			_ = l.Close()
		}
		c.stopServing()
		c.serving.Wait()
		c.end(0, io.ErrClosedPipe) // a command that never ran
		c.parent.Close()
		_ = c.poll.Close()
		for _, f := range c.files {
			_ = f.Close()
		}
	})
	return c.left
}

// sweep kills what is left in the command's namespace if the shim could not: if
// it was killed itself. This process's sockets keep the namespace, and so its
// number, until that is done. It looks at every process of the machine. What does not die,
// because it waits for a disk that does not answer, is told of.
func (c *capture) sweep() error {
	if c.inode == 0 || c.inOrder {
		return nil
	}
	var own unix.Stat_t
	if unix.Stat("/proc/self/ns/net", &own) != nil || own.Ino == c.inode {
		return nil
	}
	over := time.Now().Add(patience)
	for shim.KillNamespace(c.inode) {
		if time.Now().After(over) {
			return errors.New("processes that the command left do not end when killed")
		}
		time.Sleep(time.Millisecond) // until they have died
	}
	return nil
}

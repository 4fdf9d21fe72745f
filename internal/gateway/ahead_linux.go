package gateway

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway/link"
	"github.com/understudy-proxy/understudy/internal/gateway/nat"
	"github.com/understudy-proxy/understudy/internal/gateway/shim"
)

// ahead is a shim that builds before it is known what is to run.
type ahead struct {
	order shim.Order // written by begin alone
	done  chan struct{}

	// What follows is there when done is closed.
	pid    int
	parent *shim.Line
	file   *os.File // where the order and the command are written
	err    error

	used sync.Once // by tell, or by Close
}

// begin executes a shim.
func begin(o *Options, asks, probe bool) *Ahead {
	a := &Ahead{ahead{done: make(chan struct{}), order: shim.Order{
		Inherited: inherited(), UserNamespace: shim.Powers() != nil, Probe: probe, IPv6: !o.NoIPv6, AskOutside: asks,
		Carry: o.Carry, Between: o.Between,
	}}}
	go func() { // ends with the shim's execution: tell and Close wait for it
		defer close(a.done)
		a.err = a.spawn(o)
	}()
	return a
}

// tell makes the shim's line the caller's, and says what is to run.
func (a *ahead) tell(what *shim.Command) (parent *shim.Line, err error) {
	err = os.ErrClosed
	a.used.Do(func() {
		<-a.done
		if err = a.err; err != nil {
			return
		}
		parent = a.parent
		defer a.file.Close()
		// That the shim is gone is seen later, with what it said.
		if err = write(a.file, parent, shim.TellsCommand, what.Encode()); err != nil && !errors.Is(err, unix.EPIPE) {
			a.end()
			return
		}
		err = nil
	})
	return parent, err
}

func (a *ahead) close() {
	a.used.Do(func() {
		<-a.done
		if a.err == nil {
			_ = a.file.Close()
			a.end()
		}
	})
}

// end ends a shim that runs nothing yet: it does when its line breaks.
func (a *ahead) end() {
	a.parent.Close()
	for {
		if _, err := unix.Wait4(a.pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// write appends to the file, whose offset the shim shares, what it then is told of.
func write(file *os.File, to *shim.Line, kind shim.Kind, b []byte) error {
	if _, err := unix.Pwrite(int(file.Fd()), b, sizeOf(file)); err != nil {
		return fmt.Errorf("write the order: %w", err)
	}
	return to.Send(shim.Note{Kind: kind, Number: len(b)})
}

// sizeOf is a file's size; 0 where that is not known.
func sizeOf(file *os.File) int64 {
	info, err := file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// spawn executes this program as a shim in new namespaces, and writes its order
// while it starts.
func (a *ahead) spawn(o *Options) error {
	what := &a.order
	memory, err := unix.MemfdCreate("understudy", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(memory), "order")
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		_ = file.Close()
		return os.NewSyscallError("socketpair", err)
	}
	a.parent, a.file = shim.NewLine(pair[0]), file

	// The shim gets what this process has inherited, each under its own number
	// (make's job server, a service manager's sockets), then the order, the line to
	// this process, and two numbers that are to be its own.
	attr := &syscall.ProcAttr{Dir: o.Dir, Files: shim.SameFiles(what.Inherited), Sys: &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		Setpgid:    true, // so that the terminal's signals reach the command alone
	}}
	for i, f := range []*os.File{o.Stdin, o.Stdout, o.Stderr} {
		if f != nil {
			attr.Files[i] = f.Fd()
		}
	}
	orderFD := len(attr.Files)
	lineFD := orderFD + 1
	what.NamespaceFD, what.InnerFD = orderFD+2, orderFD+3
	// The last two keep those numbers free of what the shim opens, until they are that.
	attr.Files = append(attr.Files, file.Fd(), uintptr(pair[1]), file.Fd(), file.Fd())
	attr.Env = shim.Environ(lineFD, orderFD)
	if what.UserNamespace {
		attr.Sys.Cloneflags |= syscall.CLONE_NEWUSER
		uid, gid := os.Geteuid(), os.Getegid()
		attr.Sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.Sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		attr.Sys.AmbientCaps = shim.Builders
	}
	a.pid, err = syscall.ForkExec("/proc/self/exe", []string{shim.Name}, attr)
	_ = unix.Close(pair[1])
	if err != nil {
		a.parent.Close()
		_ = file.Close()
		return fmt.Errorf("execute itself in new namespaces: %w", err)
	}
	if err = fill(what); err == nil {
		err = write(file, a.parent, shim.TellsOrder, what.Encode())
	}
	if err != nil && !errors.Is(err, unix.EPIPE) { // that it is gone is seen later
		_ = file.Close()
		a.end()
		return err
	}
	return nil
}

// fill writes into the order what is to be sent to the kernel.
func fill(what *shim.Order) error {
	what.LinkInside, what.LinkOutside = linkBatch(link.Inside(what.NamespaceFD)), linkBatch(link.Outside())
	if what.Carry {
		what.DeviceInside = shim.Device{Name: link.Up, Index: link.Index, Between: link.UpBetween}
		what.DeviceOutside = shim.Device{Name: link.Down, Index: link.Index, Between: link.DownBetween}
		what.LinkBetween = linkBatch(link.Between(what.NamespaceFD, what.InnerFD))
		what.LinkInside, what.LinkOutside = linkBatch(link.CarriedInside()), linkBatch(link.CarriedOutside())
	}
	what.LinkInside6, what.LinkOutside6 = linkBatch(link.Inside6()), linkBatch(link.Outside6())
	what.QueueSubscribed = shim.Batch{Messages: subscribeQueue(nat.Queue)}
	what.Ports = shim.Ports{TCP: nat.PortTCP, Local: nat.PortLocal, LocalDNS: nat.PortLocalDNS}
	what.Mark = nat.MarkOwn
	ipv6 := what.IPv6 && hasIPv6()
	for _, way := range []nat.Asking{nat.AskNative, nat.AskCompat, nat.AskNot} {
		outside, inside, err := nat.Ruleset{IPv6: ipv6, Ask: way}.Batches()
		if err != nil {
			return err
		}
		what.RulesOutside = append(what.RulesOutside, shim.Batch{Messages: outside.Bytes, Last: outside.Last})
		what.RulesInside = append(what.RulesInside, shim.Batch{Messages: inside.Bytes, Last: inside.Last})
	}
	return nil
}

func linkBatch(b link.Batch) shim.Batch { return shim.Batch{Messages: b.Bytes, Last: b.Last} }

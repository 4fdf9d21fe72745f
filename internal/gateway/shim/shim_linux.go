package shim

import (
	"runtime"
	"strconv"
	"syscall"
)

// A process is a shim if both its first argument and this variable say so.
const (
	Name     = "understudy-gateway"
	variable = "UNDERSTUDY_GATEWAY"
)

// environ is the environment of a shim whose line and order have these numbers.
// Collecting garbage would cost its start more than the little that is made; a long run
// that opens many sockets makes more.
func environ(line, order int) []string {
	return []string{variable + "=" + strconv.Itoa(line) + " " + strconv.Itoa(order), "GOGC=off", "GOMEMLIMIT=64MiB", "GOMAXPROCS=2"}
}

// init takes the process over if it is a shim, or executes one. The runtime keeps init on the
// process's first thread. Only there is the network namespace that of the process
// (/proc/PID/ns/net), and it must not end before the command: the kernel kills
// the command then.
func init() {
	args := arguments()
	text, ok := syscall.Getenv(variable)
	if !ok || len(args) == 0 || args[0] != Name {
		spawnEarly(args)
		return
	}
	runtime.LockOSThread()
	for i := range len(text) {
		if text[i] == ' ' {
			line, err := strconv.Atoi(text[:i])
			order, err2 := strconv.Atoi(text[i+1:])
			if err == nil && err2 == nil {
				takeOver(line, order)
			}
		}
	}
	syscall.Exit(2)
}

// process is the shim.
type process struct {
	parent  *Line
	order   Order
	command Command
}

// takeOver does all and does not return. Nothing is written to the standard
// streams: they are the command's.
func takeOver(line, order int) {
	syscall.CloseOnExec(line) // the command must not have it
	p := &process{parent: NewLine(line)}
	p.step(StepStart, p.hear(TellsOrder, order, p.order.Decode))
	p.build(order)
	p.run()
	syscall.Exit(0)
}

// step reports a step. The process ends if it failed: with it goes all it made.
func (p *process) step(step string, err error) {
	switch {
	case err != nil:
		n := failure(err)
		n.Kind, n.Step = SaysFailed, step
		_ = p.parent.Send(n)
		syscall.Exit(0)
	case p.order.Probe:
		_ = p.parent.Send(Note{Kind: SaysStep, Step: step})
	}
}

// problem is an error that says where it happened.
type problem struct {
	doing  string
	err    error
	number int // of the netlink message that was refused
}

func (p *problem) Error() string { return p.doing + ": " + p.err.Error() }

func (p *problem) Unwrap() error { return p.err }

// at says what was being done when an error came; nil stays nil.
func at(doing string, err error) error {
	if err == nil {
		return nil
	}
	return &problem{doing: doing, err: err}
}

// failure is a note about an error, with its number.
func failure(err error) Note {
	n := Note{Text: err.Error()}
	for e := err; e != nil; {
		switch v := e.(type) {
		case syscall.Errno:
			n.Errno, e = int(v), nil
		case *problem:
			n.Number, e = max(n.Number, v.number), v.err
		default:
			e = nil
		}
	}
	return n
}

// hear waits until the parent says that something is written, and reads it from
// where the file stands. The order is written while this process starts.
func (p *process) hear(of Kind, fd int, decode func([]byte) error) error {
	n, _, err := p.parent.Receive()
	if err != nil || n.Kind != of {
		syscall.Exit(0) // the parent is gone, or has changed its mind
	}
	all := make([]byte, n.Number)
	for got := 0; got < len(all); {
		n, err := syscall.Read(fd, all[got:])
		if err != nil {
			return at("read the order", err)
		}
		if n == 0 {
			return errShort
		}
		got += n
	}
	return at("read the order", decode(all))
}

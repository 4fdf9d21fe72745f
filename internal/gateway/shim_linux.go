package gateway

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// init keeps the main goroutine of a shim on the process's first thread. Only
// there is the network namespace that of the process (/proc/PID/ns/net), and it
// must not end before the command: the kernel kills the command then.
func init() {
	if isShim() {
		runtime.LockOSThread()
	}
}

func isShim() bool { return len(os.Args) == 3 && os.Args[0] == shimName }

// shimProcess is the process in the new namespaces.
type shimProcess struct {
	parent *line
	order  order
	files  [][]byte

	namespace int // the command's network namespace, once it is made
}

// shim takes the process over if it is one. Nothing is written to the standard
// streams: they are the command's.
func shim() {
	if len(os.Args) == 1 && os.Args[0] == clientName {
		os.Exit(client())
	}
	if !isShim() {
		return
	}
	fd, err := strconv.Atoi(os.Args[1])
	if err != nil {
		os.Exit(2)
	}
	orderFD, err := strconv.Atoi(os.Args[2])
	if err != nil {
		os.Exit(2)
	}
	unix.CloseOnExec(fd) // the command must not have it
	s := &shimProcess{parent: &line{fd: fd}}
	s.step(StepStart, s.readOrder(orderFD))
	s.build()
	s.run()
	os.Exit(0)
}

// step reports a step. The process ends if it failed: with it goes all it made.
func (s *shimProcess) step(step Step, err error) {
	switch {
	case err != nil:
		_ = s.parent.send(failure(step, err))
		os.Exit(0)
	case s.order.Probe:
		_ = s.parent.send(note{Kind: saysStep, Step: step})
	}
}

// failure is a note about an error whose number the other process wants to know.
func failure(step Step, err error) note {
	n := note{Kind: saysFailed, Step: step, Text: err.Error()}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		n.Errno = int(errno)
	}
	return n
}

func (s *shimProcess) readOrder(fd int) error {
	f := os.NewFile(uintptr(fd), "order")
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	all := make([]byte, info.Size())
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, info.Size()), all); err != nil {
		return err
	}
	return s.order.decode(all, &s.files)
}

// encode writes an order and the contents that follow it.
func (o *order) encode(contents [][]byte) ([]byte, error) {
	for _, c := range contents {
		o.Sizes = append(o.Sizes, len(c))
	}
	head, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	all := append(binary.NativeEndian.AppendUint64(nil, uint64(len(head))), head...)
	for _, c := range contents {
		all = append(all, c...)
	}
	return all, nil
}

func (o *order) decode(all []byte, contents *[][]byte) error {
	short := errors.New("an order cut short")
	if len(all) < 8 || binary.NativeEndian.Uint64(all) > uint64(len(all)-8) {
		return short
	}
	size := binary.NativeEndian.Uint64(all)
	head, rest := all[8:8+size], all[8+size:]
	if err := json.Unmarshal(head, o); err != nil {
		return fmt.Errorf("an order: %w", err)
	}
	for _, n := range o.Sizes {
		if n < 0 || n > len(rest) {
			return short
		}
		*contents, rest = append(*contents, rest[:n]), rest[n:]
	}
	return nil
}

package recorder

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// syncer brings files to the disk without a thread of ours in a system call for as
// long as it takes. Such a thread keeps its processor of Go's until the runtime's
// watch takes it away, which may be 10 ms later: where there is one processor, no
// connection is served meanwhile. So the kernel is asked to sync by itself, and an
// eventfd, which Go's poller waits for, tells the end. Where the kernel does not do
// that, a sync is a plain system call. Its methods are called from one goroutine.
type syncer struct {
	context uintptr  // of asynchronous input and output; 0 where there is none
	ended   *os.File // an eventfd, counting what has ended
	fd      uint32   // its number
}

func newSyncer() *syncer {
	var s syncer
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, syncsAtOnce, uintptr(unsafe.Pointer(&s.context)), 0); errno != 0 {
		return &syncer{} // forbidden here, or used up
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = s.close()
		return &syncer{}
	}
	s.fd, s.ended = uint32(fd), os.NewFile(uintptr(fd), "eventfd")
	return &s
}

// The kernel's structures and numbers. Source: linux/aio_abi.h.
type (
	iocb struct {
		data       uint64
		_          [2]uint32
		opcode     uint16
		_          int16
		file       uint32
		_          [2]uint64
		_          [2]uint64
		flags      uint32
		resultFile uint32
	}
	ioEvent struct {
		data uint64
		_    uint64
		res  int64
		_    int64
	}
)

const (
	iocbFsync       = 2
	iocbResultFile  = 1 // the eventfd is to be told
	ioEventsPerCall = syncsAtOnce
)

// sync returns once what was written to the files, syncsAtOnce at most, survives a
// power cut.
func (s *syncer) sync(fs ...*os.File) error {
	if s.context == 0 {
		return syncPlainly(fs)
	}
	cbs := make([]iocb, len(fs))
	list := make([]*iocb, len(fs))
	for i, f := range fs {
		cbs[i] = iocb{data: uint64(i), opcode: iocbFsync, file: uint32(f.Fd()), flags: iocbResultFile, resultFile: s.fd}
		list[i] = &cbs[i]
	}
	begun, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, s.context, uintptr(len(list)), uintptr(unsafe.Pointer(unsafe.SliceData(list))))
	if errno != 0 {
		begun = 0 // not of these files, or not of this kernel
	}
	var errs []error
	if rest := fs[begun:]; len(rest) > 0 {
		errs = append(errs, syncPlainly(rest))
	}
	errs = append(errs, s.await(fs[:begun]))
	return errors.Join(errs...)
}

// await returns once the syncs of fs have ended that were begun.
func (s *syncer) await(fs []*os.File) error {
	var errs []error
	for left := len(fs); left > 0; {
		var count [8]byte
		if _, err := s.ended.Read(count[:]); err != nil {
			return fmt.Errorf("wait for a sync: %w", err)
		}
		var events [ioEventsPerCall]ioEvent
		n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, s.context, 0, uintptr(len(events)), uintptr(unsafe.Pointer(&events)), 0, 0)
		if errno != 0 {
			return os.NewSyscallError("io_getevents", errno)
		}
		for _, e := range events[:n] {
			if err := outcome(fs[e.data], e.res); err != nil {
				errs = append(errs, err)
			}
		}
		left -= int(n)
	}
	return errors.Join(errs...)
}

// outcome is what the end of f's sync says: 0, or a negative errno. An error of the
// disk is told once, so f is not asked again but where it was not asked at all.
func outcome(f *os.File, res int64) error {
	if res >= 0 {
		return nil
	}
	switch errno := syscall.Errno(-res); errno {
	case unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP:
		return f.Sync()
	default:
		return &os.PathError{Op: "sync", Path: f.Name(), Err: errno}
	}
}

func (s *syncer) close() error {
	if s.context == 0 {
		return nil
	}
	var err error
	if _, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, s.context, 0, 0); errno != 0 {
		err = os.NewSyscallError("io_destroy", errno)
	}
	s.context = 0
	if s.ended != nil {
		err = errors.Join(err, s.ended.Close())
	}
	return err
}

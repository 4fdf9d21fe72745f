package shim

import (
	"runtime"
	"syscall"
	"unsafe"
)

// What package syscall lacks. golang.org/x/sys/unix has it, and is initialised
// late: the packages whose path comes before its own would be so first.

// Capabilities. Source: linux/capability.h.
const (
	capNetBindService = 10
	capNetAdmin       = 12
	capNetRaw         = 13
	capSysAdmin       = 21
)

// Source: linux/prctl.h, linux/fcntl.h, linux/in6.h, linux/wait.h.
const (
	prSetTimerSlack      = 29
	prGetTimerSlack      = 30
	prSetChildSubreaper  = 36
	prCapAmbient         = 47
	prCapAmbientClearAll = 4
	openPath             = 0x200000
	ipv6Transparent      = 75
	anyChild             = 0 // P_ALL
)

func prctl(option, arg2 uintptr) error {
	if _, _, no := syscall.RawSyscall6(syscall.SYS_PRCTL, option, arg2, 0, 0, 0, 0); no != 0 {
		return no
	}
	return nil
}

// ignoreSignals keeps what is sent to many processes at once, as a service manager does to
// all of a unit, from ending this one, and with it the command in the midst of its own end.
// A program that is executed afterwards would inherit it.
func ignoreSignals() {
	action := [8]uint64{1} // struct sigaction: SIG_IGN, and no more
	for _, n := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2} {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	}
}

// shimSlack is by how much, ns, the kernel may wake a shim late. Go's runtime looks after
// itself every 20 µs while it starts: that is a quarter of a start where an interrupt is
// dear, and nothing of a shim's is due to the millisecond.
const shimSlack = 2_000_000

// withSlack does what begins a shim, which inherits the timer slack of the thread that
// began it, and returns this process's own.
func withSlack(begin func() error) (own int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slack, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prGetTimerSlack, 0, 0)
	if errno != 0 {
		return 0, begin() // a sandbox does not tell; 0 stands for what a thread begins with
	}
	_ = prctl(prSetTimerSlack, shimSlack)
	defer func() { _ = prctl(prSetTimerSlack, slack) }()
	return int(slack), begin()
}

// capabilities are a thread's. Source: linux/capability.h, version 3.
type capabilities [2]struct{ effective, permitted, inheritable uint32 }

// capabilityHead stands for the calling thread.
type capabilityHead struct {
	version uint32
	pid     int32
}

const capabilityVersion = 0x20080522

func (c *capabilities) get() error { return c.call(syscall.SYS_CAPGET) }

func (c *capabilities) set() error { return c.call(syscall.SYS_CAPSET) }

func (c *capabilities) call(number uintptr) error {
	head := capabilityHead{version: capabilityVersion}
	if _, _, no := syscall.RawSyscall(number, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(c)), 0); no != 0 {
		return no
	}
	return nil
}

// awaitEnded waits until a child has ended, and leaves it to be reaped.
func awaitEnded() error {
	var info [128]byte // siginfo_t
	_, _, no := syscall.Syscall6(syscall.SYS_WAITID, anyChild, 0, uintptr(unsafe.Pointer(&info)), syscall.WEXITED|syscall.WNOWAIT, 0, 0)
	if no != 0 {
		return no
	}
	return nil
}

// native32 and native16 read a number as this machine writes it.
func native32(b []byte) uint32 {
	_ = b[3]
	return *(*uint32)(unsafe.Pointer(&b[0]))
}

func native16(b []byte) uint16 {
	_ = b[1]
	return *(*uint16)(unsafe.Pointer(&b[0]))
}

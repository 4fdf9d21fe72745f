package gate

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// largestPID is the kernel's PID_MAX_LIMIT; a larger number would name another clock.
const largestPID = 1 << 22

// cpuTime is the user and system time that all threads of the process pid have
// used so far, those that have ended included, in nanoseconds.
func cpuTime(pid int) (time.Duration, error) {
	if pid <= 0 || pid > largestPID {
		return 0, errors.New("the proxy's process is unknown")
	}
	// The clock of another process: the complement of its id above the bits that
	// say "scheduler's time, of a process". Source: clock_getcpuclockid(3) and
	// MAKE_PROCESS_CPUCLOCK in the kernel's posix-timers.h.
	const schedulers = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedulers), &ts); err != nil {
		return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// residentSize is the memory of the process pid that is in RAM, in bytes.
func residentSize(pid int) (int64, error) {
	if pid <= 0 {
		return 0, errors.New("the proxy's process is unknown")
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	return parseStatm(data)
}

// parseStatm reads the second field, in pages. Source: proc_pid_statm(5).
func parseStatm(data []byte) (int64, error) {
	fields := bytes.Fields(data)
	if len(fields) < 2 {
		return 0, errors.New("read memory: statm is too short")
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 40)
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	return int64(pages) * int64(os.Getpagesize()), nil
}

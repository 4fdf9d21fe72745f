package gate

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of times in /proc/PID/stat: Linux shows user space 100 Hz on
// every architecture that Go runs on. Source: proc_pid_stat(5), USER_HZ.
const tick = 10 * time.Millisecond

// cpuTime is the user and system time that the process pid has used so far, in
// steps of a tick.
func cpuTime(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, errors.New("the proxy's process is unknown")
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the proxy's CPU time: %w", err)
	}
	return parseStat(data)
}

func parseStat(data []byte) (time.Duration, error) {
	// The command's name, in parentheses, may hold anything, ") " included:
	// fields are counted from the last one.
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return 0, errors.New("read the proxy's CPU time: no command name in stat")
	}
	fields := bytes.Fields(data[end+1:])
	const utime, stime = 14 - 3, 15 - 3 // the state, field 3, is the first one here
	if len(fields) <= stime {
		return 0, errors.New("read the proxy's CPU time: stat is too short")
	}
	var ticks uint64
	for _, f := range [][]byte{fields[utime], fields[stime]} {
		n, err := strconv.ParseUint(string(f), 10, 48)
		if err != nil {
			return 0, fmt.Errorf("read the proxy's CPU time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

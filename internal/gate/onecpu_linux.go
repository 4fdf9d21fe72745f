package gate

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// OneCPU moves this process to the last of the CPUs that it may use, and with it
// every process that it starts from now on. undo gives the others back.
func OneCPU() (undo func() error, err error) {
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("read which CPUs may be used: %w", err)
	}
	for cpu := range len(before) * strconv.IntSize {
		if before.IsSet(cpu) {
			one.Zero()
			one.Set(cpu)
		}
	}
	if err := everyThread(&one); err != nil {
		return nil, err
	}
	return func() error { return everyThread(&before) }, nil
}

// everyThread sets what the threads of this process may run on. One that is
// started meanwhile has it from the one that starts it, so it looks until there
// is none that it does not know.
func everyThread(set *unix.CPUSet) error {
	known := map[string]bool{}
	for more := true; more; {
		more = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list threads: %w", err)
		}
		for _, t := range threads {
			if known[t.Name()] {
				continue
			}
			known[t.Name()], more = true, true
			id, _ := strconv.Atoi(t.Name())
			if err := unix.SchedSetaffinity(id, set); err != nil && err != unix.ESRCH { // it has ended
				return fmt.Errorf("set which CPUs may be used: %w", err)
			}
		}
	}
	return nil
}

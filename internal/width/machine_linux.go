package width

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// tick is the unit of /proc/stat: USER_HZ is 100 on every architecture that Go
// runs on. Source: proc_stat(5).
const tick = 10 * time.Millisecond

// host is this machine and program.
type host struct {
	stat *os.File
	line [256]byte // of stat, its first
}

func newHost() (machine, error) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return nil, err
	}
	h := &host{stat: f}
	first, err := h.read()
	if err == nil && first.idle == 0 { // gVisor's has zeros
		err = errors.New("/proc/stat does not count idle time")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return h, nil
}

func (h *host) read() (reading, error) {
	n, err := h.stat.ReadAt(h.line[:], 0)
	if n == 0 {
		return reading{}, err
	}
	idle, err := parseIdle(h.line[:n])
	if err != nil {
		return reading{}, fmt.Errorf("read %s: %w", h.stat.Name(), err)
	}
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return reading{}, fmt.Errorf("read this program's CPU time: %w", err)
	}
	return reading{time.Now(), idle, time.Duration(r.Utime.Nano() + r.Stime.Nano())}, nil
}

// parseIdle returns the idle time of all processors from the beginning of
// /proc/stat: "cpu user nice system idle iowait …". A processor that waits for a
// disk is idle, too. Source: proc_stat(5).
func parseIdle(text []byte) (time.Duration, error) {
	const idle, iowait = 4, 5
	line, _, ended := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line)
	if !ended || len(fields) <= iowait || string(fields[0]) != "cpu" {
		return 0, errors.New("want \"cpu\" and at least five numbers in the first line")
	}
	var ticks uint64
	for _, f := range fields[idle : iowait+1] {
		n, err := strconv.ParseUint(string(f), 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil // may wrap; differences do not
}

func (h *host) full() int        { return runtime.GOMAXPROCS(0) }
func (h *host) narrow(width int) { runtime.GOMAXPROCS(width) }
func (h *host) close()           { h.stat.Close() }

func (h *host) widen() int {
	runtime.SetDefaultGOMAXPROCS()
	return runtime.GOMAXPROCS(0)
}

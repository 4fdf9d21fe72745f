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
	text []byte // room for stat's
}

func newHost() (machine, error) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return nil, err
	}
	h := &host{stat: f, text: make([]byte, 4096)}
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
	text, err := h.readStat()
	if err != nil {
		return reading{}, err
	}
	idle, err := parseIdle(text)
	if err != nil {
		return reading{}, fmt.Errorf("read %s: %w", h.stat.Name(), err)
	}
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return reading{}, fmt.Errorf("read this program's CPU time: %w", err)
	}
	return reading{time.Now(), idle, time.Duration(r.Utime.Nano() + r.Stime.Nano()), parseSwitches(text)}, nil
}

// readStat reads with one call: the kernel makes the whole text for each, and gives as
// much as there is room for.
func (h *host) readStat() ([]byte, error) {
	for {
		n, err := syscall.Pread(int(h.stat.Fd()), h.text, 0)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return nil, os.NewSyscallError("read "+h.stat.Name(), err)
		case n < len(h.text):
			return h.text[:n], nil
		default:
			h.text = make([]byte, 2*n)
		}
	}
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

// parseSwitches returns how often a processor went from one thread to another, from
// the line "ctxt N" of /proc/stat; 0 where there is none. Source: proc_stat(5).
func parseSwitches(text []byte) uint64 {
	_, rest, _ := bytes.Cut(text, []byte("\nctxt "))
	number, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (h *host) full() int        { return runtime.GOMAXPROCS(0) }
func (h *host) narrow(width int) { runtime.GOMAXPROCS(width) }
func (h *host) close()           { h.stat.Close() }

func (h *host) widen() int {
	runtime.SetDefaultGOMAXPROCS()
	return runtime.GOMAXPROCS(0)
}

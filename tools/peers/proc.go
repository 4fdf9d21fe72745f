package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// process is a child and what it started in turn.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// start runs a program in the foreground, with its output in a file of the
// run's directory. It must be called from the main thread: see main.
func (b *bench) start(name string, argv ...string) (*process, error) {
	b.serial++
	log := filepath.Join(b.dir, fmt.Sprintf("%03d-%s.log", b.serial, strings.Map(plain, name)))
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.Dir = b.dir
	cmd.Env = b.env
	// An own group keeps the terminal's ^C from children until they are
	// stopped in order; the death signal covers our being killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, log: log, ended: make(chan struct{})}
	go func() { // ends with the child; stop waits for it
		_ = cmd.Wait()
		close(p.ended)
	}()
	b.running = append(b.running, p)
	return p, nil
}

func plain(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}

// stop ends the process and its group, politely first, and waits for it. The
// group is the child's own: nobody else is in it.
func (b *bench) stop(p *process) {
	b.running = slices.DeleteFunc(b.running, func(q *process) bool { return q == p })
	if p.alive() != nil {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
	}
}

// alive reports why the process is no longer there, with the end of its log.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended: %v%s", p.name, p.cmd.ProcessState, p.tail())
	default:
		return nil
	}
}

func (p *process) tail() string {
	data, _ := os.ReadFile(p.log)
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return ""
	}
	return ": " + string(data[max(0, len(data)-600):])
}

// tree lists the process and its descendants.
func (p *process) tree() []int {
	parents := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		// The name in brackets may hold anything; fields begin after it.
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if len(fields) > 1 {
			parent, _ := strconv.Atoi(fields[1])
			parents[parent] = append(parents[parent], pid)
		}
	}
	all := []int{p.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		all = append(all, parents[all[i]]...)
	}
	return all
}

// cpu is the user and system time of the tree so far, ended threads included.
func (p *process) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p.tree() {
		// A process's CPU clock counts what /proc/PID/stat does, in ns in
		// place of ticks of 10 ms. Source: clock_getcpuclockid(3).
		var ts syscall.Timespec
		clock := int32(^pid<<3 | 2)
		_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(uint32(clock)), uintptr(unsafe.Pointer(&ts)), 0)
		if errno != 0 {
			return 0, fmt.Errorf("read the CPU clock of %s: %w", p.name, errno)
		}
		sum += time.Duration(ts.Nano())
	}
	return sum, nil
}

// rss is the tree's resident memory in bytes.
func (p *process) rss() int64 {
	var sum int64
	for _, pid := range p.tree() {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if f := strings.Fields(string(data)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			sum += pages * int64(os.Getpagesize())
		}
	}
	return sum
}

// freePort asks the kernel for a port of loopback that nobody has.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// output runs a short program and returns what it printed.
func output(argv ...string) string {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return ""
	}
	return string(out)
}

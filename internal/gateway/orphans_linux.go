package gateway

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway/shim"
)

// endOrphans kills those that two looks find: a process whose parent ends between two
// glances of one may look like one.
func endOrphans(ctx context.Context) (ended []int) {
	if covered("self") {
		return nil // captured itself: who captures it sees more, and does it
	}
	before := orphans(ctx)
	for over := time.Now().Add(patience); len(before) > 0 && time.Now().Before(over); {
		now := orphans(ctx)
		for pid, ns := range now {
			if before[pid] == ns && killIn(pid, ns) && !slices.Contains(ended, pid) {
				ended = append(ended, pid)
			}
		}
		before = now
	}
	return ended
}

// orphans returns the processes that were captured and in whose mount namespace no shim is
// left, nor anybody below one, with these namespaces, as far as this process may look into
// them; none if ctx ends before all is seen. A shim is the ancestor of all that its command
// leaves; who came into a namespace that is watched over, such as a debugger's shell
// (nsenter), is nobody's orphan. Of the network there is nothing left to know them by: with
// the gateway's namespace the link has gone.
func orphans(ctx context.Context) map[int]string {
	own, all := namespaceOf("self"), map[string][]int{}
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = proc.Close() }()
	entries, _ := proc.Readdirnames(-1)
	for _, name := range entries {
		if pid, err := strconv.Atoi(name); err == nil {
			if ctx.Err() != nil {
				return nil
			}
			if at := namespaceOf(name); at != "" && at != own {
				all[at] = append(all[at], pid)
			}
		}
	}
	found := map[int]string{}
	for ns, pids := range all {
		if slices.ContainsFunc(pids, watched) || !slices.ContainsFunc(pids, func(pid int) bool { return covered(strconv.Itoa(pid)) }) {
			continue
		}
		for _, pid := range pids {
			found[pid] = ns
		}
	}
	return found
}

// namespaceOf names a process's mount namespace, "" where that may not be known, or the
// process has ended.
func namespaceOf(process string) string {
	at, err := os.Readlink("/proc/" + process + "/ns/mnt")
	if err != nil {
		return ""
	}
	return at
}

// covered reports whether a process sees a file that a shim has put over another: one with
// a number for its name, in a tmpfs of the shim's.
// Source of the layout: "ID PARENT DEVICE ROOT POINT OPTIONS… - TYPE SOURCE …", proc(5).
func covered(process string) bool {
	mounts, err := os.ReadFile("/proc/" + process + "/mountinfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, ok := strings.Cut(line, " - "+shim.CoversType+" "+shim.CoversSource+" ")
		if fields := strings.Fields(before); ok && after != "" && len(fields) > 3 {
			if _, err := strconv.ParseUint(strings.TrimPrefix(fields[3], "/"), 10, 32); err == nil {
				return true
			}
		}
	}
	return false
}

// watched reports whether a process is a shim, or below one. Where that cannot be found
// out, it is.
func watched(pid int) bool {
	for range 1000 { // more generations than any; parents come and go meanwhile
		if pid <= 1 {
			return false
		}
		dir := "/proc/" + strconv.Itoa(pid)
		line, err := os.ReadFile(dir + "/cmdline")
		if name, _, _ := strings.Cut(string(line), "\x00"); err != nil || name == shim.Name {
			return true
		}
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			return true
		}
		// "pid (name) state ppid …", and the name may hold anything.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 2 {
			return true
		}
		if pid, err = strconv.Atoi(fields[1]); err != nil {
			return true
		}
	}
	return true
}

// killIn kills a process if it is in a mount namespace, and reports whether it could.
func killIn(pid int, ns string) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil { // before Linux 5.3; or it has ended
		return err == unix.ENOSYS && namespaceOf(strconv.Itoa(pid)) == ns && unix.Kill(pid, unix.SIGKILL) == nil
	}
	defer func() { _ = unix.Close(fd) }()
	return namespaceOf(strconv.Itoa(pid)) == ns && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}

package gateway

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// descendants returns a process's children and theirs.
func descendants(pid int) (all []int) {
	all = children(pid)
	for i := 0; i < len(all); i++ {
		all = append(all, children(all[i])...)
	}
	return all
}

// children returns a process's children. A kernel that keeps no list of them
// (CONFIG_PROC_CHILDREN) makes it look at every process.
func children(pid int) (all []int) {
	lists, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, name := range lists {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(field); err == nil {
				all = append(all, n)
			}
		}
	}
	if len(lists) > 0 {
		return all
	}
	eachProcess(func(other int) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(other) + "/stat")
		if err != nil {
			return
		}
		// pid (name) state ppid: the name may hold anything.
		rest := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(rest) > 1 && string(rest[1]) == strconv.Itoa(pid) {
			all = append(all, other)
		}
	})
	return all
}

func eachProcess(do func(pid int)) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			do(pid)
		}
	}
}

// killNamespace kills every process in a network namespace and reports whether
// there was any.
func killNamespace(inode uint64) (any bool) {
	want := "net:[" + strconv.FormatUint(inode, 10) + "]"
	eachProcess(func(pid int) {
		if at, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/net"); err == nil && at == want && pid != os.Getpid() {
			any = true
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	return any
}

package shim

import (
	"strconv"
	"syscall"
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
	tasks := "/proc/" + strconv.Itoa(pid) + "/task"
	listed := false
	for _, task := range names(tasks) {
		name := tasks + "/" + task + "/children"
		listed = listed || exists(name)
		all = append(all, numbers(read(name))...)
	}
	if listed {
		return all
	}
	eachProcess(func(other int) {
		if parentIn(read("/proc/"+strconv.Itoa(other)+"/stat")) == pid {
			all = append(all, other)
		}
	})
	return all
}

// parentIn reads the parent's number in "pid (name) state ppid …"; the name may
// hold anything.
func parentIn(stat string) int {
	for i := len(stat) - 1; i >= 0; i-- {
		if stat[i] == ')' && len(stat) > i+4 {
			if all := numbers(stat[i+4:]); len(all) > 0 {
				return all[0]
			}
			break
		}
	}
	return -1
}

// numbers reads the numbers in a list with blanks between.
func numbers(text string) (all []int) {
	for start, i := -1, 0; i <= len(text); i++ {
		digit := i < len(text) && text[i] > ' '
		switch {
		case digit && start < 0:
			start = i
		case !digit && start >= 0:
			if n, err := strconv.Atoi(text[start:i]); err == nil {
				all = append(all, n)
			}
			start = -1
		}
	}
	return all
}

func eachProcess(do func(pid int)) {
	for _, name := range names("/proc") {
		if pid, err := strconv.Atoi(name); err == nil {
			do(pid)
		}
	}
}

// KillNamespace kills every process in a network namespace but this one, and
// reports whether there was any.
func KillNamespace(inode uint64) (found bool) {
	want := "net:[" + strconv.FormatUint(inode, 10) + "]"
	buf := make([]byte, 64)
	eachProcess(func(pid int) {
		n, err := syscall.Readlink("/proc/"+strconv.Itoa(pid)+"/ns/net", buf)
		if err == nil && string(buf[:n]) == want && pid != syscall.Getpid() {
			found = true
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return found
}

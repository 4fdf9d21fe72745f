package app

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/understudy-proxy/understudy/shaping"
)

// RefuseToSever is an error where conditions on target would cut off the SSH session
// that this process runs in. Who is behind it is found also through sudo, which hides
// it from the environment.
func RefuseToSever(t shaping.Target, l shaping.Link, classes []shaping.LinkClass) error {
	client, ok := sshClient(os.Getpid())
	if !ok {
		return nil
	}
	why := shaping.Severs(l, classes, client)
	if why == "" || t.Namespace != nil && !sameNamespace(t.Namespace) {
		return nil
	}
	carries, err := shaping.Carries(t, client)
	if err != nil {
		return fmt.Errorf("is the SSH session from %s on %s? %w\nhint: --cut-off-ssh, if it does not matter", client, t.Interface, err)
	}
	if !carries {
		return nil
	}
	return fmt.Errorf("%s carries the SSH session that this command runs in, from %s, and it would be cut off: %s\n"+
		"hint: shape a container or a process (--container, --pid), be milder, or --cut-off-ssh", t.Interface, client, why)
}

// sshClient is the address of the SSH client that a process, or one of its ancestors,
// was started from.
func sshClient(pid int) (netip.Addr, bool) {
	if a, ok := clientIn([]byte("SSH_CONNECTION=" + os.Getenv("SSH_CONNECTION"))); ok {
		return a, true
	}
	for range 64 { // deeper than any tree of shells
		if pid <= 1 {
			break
		}
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil {
			if a, ok := clientIn(env); ok {
				return a, true
			}
		}
		if pid, err = parentOf(pid); err != nil {
			break
		}
	}
	return netip.Addr{}, false
}

// clientIn reads SSH_CONNECTION: the client's address and port, the server's.
// Source: ssh(1), "ENVIRONMENT".
func clientIn(environ []byte) (netip.Addr, bool) {
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte("SSH_CONNECTION=")); ok {
			first, _, _ := strings.Cut(string(value), " ")
			a, err := netip.ParseAddr(first)
			return a.WithZone(""), err == nil
		}
	}
	return netip.Addr{}, false
}

func parentOf(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])) // state, parent
	if len(fields) < 2 {
		return 0, fmt.Errorf("process %d: no parent in its stat", pid)
	}
	return strconv.Atoi(fields[1])
}

// sameNamespace reports whether file is this process's own network namespace.
func sameNamespace(file *os.File) bool {
	a, errA := file.Stat()
	b, errB := os.Stat("/proc/self/ns/net")
	return errA == nil && errB == nil && os.SameFile(a, b)
}

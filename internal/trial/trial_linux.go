package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Run runs argv in a new network namespace and reads its output, one JSON value, into
// answer. With asUser it gets a user namespace, too: an ordinary user's way to a
// network namespace, in which it has root's powers. The child does not outlive this
// process, nor ctx.
func Run(ctx context.Context, asUser bool, argv []string, answer any) error {
	if len(argv) == 0 {
		return errors.New("probe: no command given")
	}
	// Pdeathsig follows the thread that forks, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if asUser {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("probe: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	if err := json.Unmarshal(out, answer); err != nil {
		return fmt.Errorf("probe: read the answer: %w", err)
	}
	return nil
}

// Explain says why Run could start no child in namespaces of its own, and what mends it;
// "" where that is not known.
func Explain(err error) (detail, remedy string) {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		remedy = "no namespaces are left: sudo sysctl -w user.max_user_namespaces=15000 user.max_net_namespaces=15000"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		remedy = "run as root, or allow them: sudo sysctl -w kernel.unprivileged_userns_clone=1 (Debian), " +
			"kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu); in Docker --cap-add SYS_ADMIN --security-opt seccomp=unconfined"
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		remedy = "use a kernel with CONFIG_USER_NS and CONFIG_NET_NS"
	}
	return err.Error(), remedy
}

// RefuseUsed refuses, in the child, a network namespace in use: it must not experiment
// on a host.
func RefuseUsed() error {
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	return refuseUsed(links)
}

// refuseUsed tells a fresh namespace from one in use. A fresh one has lo, and
// may have the fallback tunnels (tunl0, sit0 and so on) that modules put into
// every namespace; but none of its links is up.
func refuseUsed(links []net.Interface) error {
	for _, l := range links {
		if l.Flags&net.FlagUp != 0 {
			return fmt.Errorf("probe: link %s is up: this is no fresh network namespace", l.Name)
		}
	}
	return nil
}

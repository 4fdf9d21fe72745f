package shaping

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// probeTime is how long a child may take: module loading included, it needs
// some milliseconds.
const probeTime = 10 * time.Second

// Probe tries out what this kernel can do and returns one Capability each, in
// a fixed order. argv is a command whose body is ProbeMain, such as this
// binary with its hidden subcommand.
//
// The trials run in children with a network namespace of their own, which is
// gone when they end: no link or rule of the host is touched. The kernel may
// load a module on the way, as it would at the first use. As root the kernel is
// asked with root's powers, and namespaces with an ordinary user's way to them.
func Probe(ctx context.Context, argv ...string) []Capability {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	user, userErr := probeIn(ctx, unix.CLONE_NEWUSER|unix.CLONE_NEWNET, argv)
	if userErr != nil {
		detail, remedy := explainNamespace(userErr)
		user = allMissing(detail, remedy)
	}
	if os.Geteuid() != 0 {
		return user
	}
	root, err := probeIn(ctx, unix.CLONE_NEWNET, argv)
	if err != nil {
		detail, remedy := explainNamespace(err)
		root = allMissing(detail, remedy)
	}
	root[0] = user[0] // CapNamespaces
	return root
}

// probeIn runs ProbeMain in new namespaces.
func probeIn(ctx context.Context, namespaces uintptr, argv []string) ([]Capability, error) {
	if len(argv) == 0 {
		return nil, errors.New("probe: no command given")
	}
	// Pdeathsig follows the thread that forks, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	if namespaces&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("probe: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	var found []Capability
	if err := json.Unmarshal(out, &found); err != nil {
		return nil, fmt.Errorf("probe: read the answer: %w", err)
	}
	if len(found) != len(capabilities) {
		return nil, fmt.Errorf("probe: want %d answers, got %d", len(capabilities), len(found))
	}
	return found, nil
}

// explainNamespace says why no child could be started in namespaces of its own.
func explainNamespace(err error) (detail, remedy string) {
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

// ProbeMain is the body of Probe's hidden subcommand: it tries things in the
// network namespace that it finds itself in, and writes []Capability as JSON to
// stdout. It refuses a namespace in use, where a link is up (lo suffices): it
// must not experiment on a host.
func ProbeMain(stdout io.Writer) error {
	links, err := Interfaces(nil)
	if err != nil {
		return err
	}
	if err := refuseUsed(links); err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(tryAll())
}

// refuseUsed tells a fresh namespace from one in use. A fresh one has lo, and
// may have the fallback tunnels (tunl0, sit0 and so on) that modules put into
// every namespace; but none of its links is up.
func refuseUsed(links []Interface) error {
	for _, l := range links {
		if l.Up {
			return fmt.Errorf("probe: link %s is up: this is no fresh network namespace", l.Name)
		}
	}
	return nil
}

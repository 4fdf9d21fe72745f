package gateway

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// What mends what is missing.
const (
	mendAppArmor = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu gives an ordinary user the namespace without its powers), or run as root"
	mendClone    = "sudo sysctl -w kernel.unprivileged_userns_clone=1, or run as root"
	mendUserMax  = "sudo sysctl -w user.max_user_namespaces=15000, or run as root"
	mendNetMax   = "sudo sysctl -w user.max_net_namespaces=15000: there are too many network namespaces, or none are allowed"
	mendSeccomp  = "a seccomp filter or the lack of CAP_SYS_ADMIN forbids it; in a container: docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined …"
	mendKernel   = "the kernel lacks it: it needs CONFIG_USER_NS, CONFIG_NET_NS and CONFIG_VETH (sudo modprobe veth)"
	mendNft      = "sudo modprobe -a nf_tables nft_tproxy nft_socket; if there are no such modules, install the kernel's extra modules " +
		"(Ubuntu: linux-modules-extra-$(uname -r), RHEL: kernel-modules-extra) or use a full kernel; iptables does as well: sudo modprobe -a ip_tables iptable_mangle ip6table_mangle xt_TPROXY xt_socket xt_mark xt_tcpudp"
)

// explain makes a StepError of an error and finds the remedy.
func explain(step Step, err error, user bool) error {
	denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	full := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS)
	e := &StepError{Step: step, Err: err}
	switch {
	case step == StepStart && user:
		e.Step = StepUser
		switch {
		case full && sysctl("user/max_user_namespaces") == "0":
			e.Remedy = mendUserMax
		case full:
			e.Step, e.Remedy = StepNetwork, mendNetMax
			if sysctl("user/max_net_namespaces") != "0" && sysctl("user/max_user_namespaces") != "" {
				e.Remedy += "; see also user.max_user_namespaces"
			}
		case denied && sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
			e.Step, e.Remedy = StepPowers, mendAppArmor
		case denied && sysctl("kernel/unprivileged_userns_clone") == "0":
			e.Remedy = mendClone
		case denied:
			e.Remedy = mendSeccomp
		default:
			e.Remedy = mendKernel
		}
	case full:
		e.Step, e.Remedy = StepNetwork, mendNetMax
	case denied && user && sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
		e.Step, e.Remedy = StepPowers, mendAppArmor
	case denied:
		e.Remedy = mendSeccomp
	case step == StepCatch || step == StepLocal || step == StepAsk:
		e.Remedy = mendNft
	case step == StepStart || step == StepNetwork || step == StepLink:
		e.Remedy = mendKernel
	}
	return e
}

// sysctl reads a kernel setting; empty if there is none of that name.
func sysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

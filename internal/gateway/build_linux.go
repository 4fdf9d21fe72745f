package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway/nat"
)

// build makes all that the command needs and hands the sockets over. It runs on
// the process's first thread, which moves to the command's network namespace on
// the way; what is the gateway's is opened before. It reads as the list of steps.
func (s *shimProcess) build() {
	s.step(StepPowers, powers())
	s.step(StepMount, cover(s.order.Files, s.files))
	s.files = nil

	ipv6 := s.order.IPv6 && hasIPv6()
	var sockets opened
	gateway, err := openPlace(ipv6, s.order.AskAlways)
	s.step(StepNetwork, err)
	outsideErr := sockets.openOutside(ipv6)
	s.step(StepNetwork, os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET)))
	command, err := openPlace(ipv6, true)
	s.step(StepNetwork, err)
	insideErr := sockets.openInside(ipv6)

	before := ipv6
	links, err := buildLink(gateway, command, &ipv6)
	s.step(StepLink, err)
	if before && !ipv6 {
		sockets.closeIPv6()
	}
	if s.order.AskAlways {
		s.step(StepCatch, gateway.install(nat.Ruleset.Outside, ipv6))
	} else {
		s.step(StepCatch, nat.Ruleset{IPv6: ipv6}.Outside(gateway.rules))
	}
	s.step(StepLocal, command.install(nat.Ruleset.Inside, ipv6))
	if command.queue != 0 {
		s.step(StepAsk, nil)
	}
	s.step(StepSockets, errors.Join(outsideErr, insideErr))

	// With every port free to it an ordinary user's command can serve where in
	// production it does. Not where /proc/sys cannot be written.
	_ = os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)

	sockets[roleAskOutside], sockets[roleAskInside] = gateway.queue, command.queue
	sockets[roleDown], sockets[roleUp] = gateway.route, command.route
	if err := s.hand(&sockets, ipv6, links); err != nil {
		s.step(StepHand, err) // that it went well is seen by what arrives
	}
	s.namespace = command.ns
	_ = unix.Close(gateway.ns)
	gateway.close()
	command.close()
}

// hand gives the descriptors away and keeps none.
func (s *shimProcess) hand(sockets *opened, ipv6 bool, links []Link) error {
	var own unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &own); err != nil {
		return fmt.Errorf("look at the network namespace: %w", err)
	}
	var fds []int
	for _, r := range handed(ipv6, sockets[roleAskOutside] != 0, sockets[roleAskInside] != 0) {
		fds = append(fds, sockets[r])
	}
	err := s.parent.send(note{
		Kind: saysSockets, IPv6: ipv6, Links: links, Inode: own.Ino,
		AskOutside: sockets[roleAskOutside] != 0, AskInside: sockets[roleAskInside] != 0,
	}, fds...)
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	return err
}

func (o *opened) closeIPv6() {
	for r := range roles {
		if r.ipv6() && o[r] != 0 {
			_ = unix.Close(o[r])
			o[r] = 0
		}
	}
}

// place holds what acts in one network namespace: a socket stays with the
// namespace in which it was made.
type place struct {
	ns     int // the namespace itself
	routes *netlink.Handle
	rules  *nftables.Conn
	route  int // NETLINK_ROUTE, for the parent
	queue  int // NFQUEUE's socket; 0 where the kernel has none, or none is wanted
}

// openPlace opens the current namespace's.
func openPlace(ipv6, ask bool) (p *place, err error) {
	if ipv6 {
		allowIPv6()
	}
	p = &place{}
	if p.ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	if p.routes, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	if p.rules, err = nftables.New(nftables.AsLasting()); err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	p.route, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket netlink", err)
	}
	if ask {
		if p.queue, err = openQueue(nat.Queue); err != nil {
			p.queue = 0 // a kernel without NFQUEUE: all are admitted
		}
	}
	return p, nil
}

// install writes rules that ask before a connection is made, or, where the kernel
// cannot, rules that do not.
func (p *place) install(write func(nat.Ruleset, *nftables.Conn) error, ipv6 bool) error {
	if p.queue != 0 {
		for _, way := range []nat.Asking{nat.AskNative, nat.AskCompat} {
			err := write(nat.Ruleset{IPv6: ipv6, Ask: way}, p.rules)
			if err == nil || !nat.Unsupported(err) {
				return err
			}
		}
		_ = unix.Close(p.queue)
		p.queue = 0
	}
	return write(nat.Ruleset{IPv6: ipv6}, p.rules)
}

// close lets go of what only building needs.
func (p *place) close() {
	p.routes.Close()
	_ = p.rules.CloseLasting()
}

// powers reports whether this process may do what building takes.
func powers() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	for _, c := range builders {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			return fmt.Errorf("capability %d is not there: %w", c, unix.EPERM)
		}
	}
	return nil
}

// builders are the capabilities that building takes.
var builders = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE}

func hasIPv6() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return !errors.Is(err, fs.ErrNotExist)
}

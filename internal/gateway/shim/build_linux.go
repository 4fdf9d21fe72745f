package shim

import (
	"errors"
	"syscall"
)

// builders are the capabilities that building takes.
var builders = []uintptr{capSysAdmin, capNetAdmin, capNetRaw, capNetBindService}

// build makes all that the command needs and hands the sockets over. It runs on
// the process's first thread, which moves to the command's network namespace on
// the way; what is the gateway's is opened before. Rules and link do not depend
// on each other, and the kernel waits on both: they are made at the same time. What
// the command is need be known last, and is read from the descriptor order.
func (p *process) build(order int) {
	o := &p.order
	p.step(StepPowers, Powers())

	ipv6 := o.IPv6 && exists("/proc/net/if_inet6")
	var sockets opened
	gateway, err := p.openPlace(ipv6, o.AskOutside)
	p.step(StepNetwork, err)
	outsideErr := sockets.openOutside(ipv6, o.Ports)
	if o.Probes && outsideErr == nil {
		sockets[DownProbes], outsideErr = openProbes()
	}
	caught := make(chan error, 1)
	go func() { caught <- gateway.install(o.RulesOutside) }()

	var between *between
	if o.Carry && (o.Between || gateway.openDevice(o.DeviceOutside) != nil) {
		between, err = openBetween()
		p.step(StepLink, err)
	}
	p.step(StepNetwork, at("unshare", syscall.Unshare(syscall.CLONE_NEWNET)))
	command, err := p.openPlace(ipv6, true)
	p.step(StepNetwork, err)
	if o.Carry && between == nil {
		p.step(StepLink, command.openDevice(o.DeviceInside))
	}
	locally := make(chan error, 1)
	go func() { locally <- command.install(o.RulesInside) }()
	insideErr := sockets.openInside(ipv6, o.Ports)
	if o.Probes && insideErr == nil {
		sockets[UpProbes], insideErr = openProbes()
	}
	p.step(StepNetwork, at("dup3", syscall.Dup3(gateway.ns, o.NamespaceFD, syscall.O_CLOEXEC)))

	p.step(StepNetwork, at("dup3", syscall.Dup3(command.ns, o.InnerFD, syscall.O_CLOEXEC)))
	if between != nil {
		p.step(StepLink, between.connect(gateway, command, o))
	}
	p.step(StepLink, p.buildLink(gateway, command, &ipv6))
	if !ipv6 {
		sockets.closeIPv6()
	}
	p.step(StepCatch, gateway.orLegacy(<-caught, o.LegacyOutside, sockets[TCP4], sockets[TCP6]))
	p.step(StepLocal, command.orLegacy(<-locally, o.LegacyInside, sockets[Local4], sockets[Local6]))
	if command.queue != 0 {
		p.step(StepAsk, nil)
	}
	if outsideErr == nil {
		outsideErr = insideErr
	}
	p.step(StepSockets, outsideErr)

	// With every port free to it an ordinary user's command can serve where in
	// production it does. Not where /proc/sys cannot be written.
	_ = write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")

	p.step(StepStart, p.hear(TellsCommand, order, p.command.Decode))
	_ = syscall.Close(order)
	p.step(StepMount, cover(p.command.Covers, p.command.Contents))
	p.command.Contents = nil

	sockets[AskOutside], sockets[AskInside] = gateway.queue, command.queue
	sockets[Down], sockets[Up] = gateway.route, command.route
	sockets[DownDevice], sockets[UpDevice] = gateway.device, command.device
	if err := p.hand(&sockets, ipv6); err != nil {
		p.step(StepHand, err) // that it went well is seen by what arrives
	}
	for _, fd := range []int{gateway.ns, command.ns, gateway.rules, command.rules, o.NamespaceFD, o.InnerFD} {
		if fd != 0 {
			_ = syscall.Close(fd)
		}
	}
}

// buildLink sends the link's messages. Where the kernel refuses those of IPv6,
// there is none.
func (p *process) buildLink(gateway, command *place, ipv6 *bool) error {
	o := &p.order
	if err := exchange(command.route, o.LinkInside); err != nil {
		return at("the command's end of the link", err)
	}
	if err := exchange(gateway.route, o.LinkOutside); err != nil {
		return at("the gateway's end of the link", err)
	}
	if err := awaitActive(command.route, o.LinkState); err != nil {
		return at("the command's end of the link", err)
	}
	if *ipv6 {
		*ipv6 = exchange(command.route, o.LinkInside6) == nil && exchange(gateway.route, o.LinkOutside6) == nil
	}
	return nil
}

// hand gives the descriptors away and keeps none.
func (p *process) hand(sockets *opened, ipv6 bool) error {
	var own syscall.Stat_t
	if err := syscall.Stat("/proc/thread-self/ns/net", &own); err != nil {
		return at("look at the network namespace", err)
	}
	n := Note{Kind: SaysSockets, IPv6: ipv6, Inode: own.Ino, AskOutside: sockets[AskOutside] != 0, AskInside: sockets[AskInside] != 0,
		Carried: sockets[UpDevice] != 0, Probes: sockets[UpProbes] != 0}
	var fds []int
	for _, r := range n.Handed() {
		fds = append(fds, sockets[r])
	}
	err := p.parent.Send(n, fds...)
	for _, fd := range fds {
		_ = syscall.Close(fd)
	}
	return at("send the sockets", err)
}

func (o *opened) closeIPv6() {
	for r := range Roles {
		if r.IPv6() && o[r] != 0 {
			_ = syscall.Close(o[r])
			o[r] = 0
		}
	}
}

// place holds what acts in one network namespace: a socket stays with the
// namespace in which it was made.
type place struct {
	ns    int // the namespace itself
	route int // NETLINK_ROUTE; the parent's later
	rules int // NETLINK_NETFILTER; 0 where the kernel has none of it: noRules says so
	queue int // NFQUEUE's socket; 0 where the kernel has none, or none is wanted
	// device is the end of a link that a process carries; 0 for a veth's.
	device int

	noRules error
}

// openPlace opens the current namespace's.
func (p *process) openPlace(ipv6, ask bool) (at_ *place, err error) {
	if ipv6 {
		allowIPv6()
	}
	c := &place{}
	if c.ns, err = syscall.Open("/proc/thread-self/ns/net", syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err != nil {
		return nil, at("open the network namespace", err)
	}
	if c.route, err = openNetlink(syscall.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	switch c.rules, err = openNetlink(syscall.NETLINK_NETFILTER); {
	case errors.Is(err, syscall.EPROTONOSUPPORT):
		c.noRules = err // which iptables may do without
		return c, nil
	case err != nil:
		return nil, err
	}
	if ask {
		if c.queue, err = openNetlink(syscall.NETLINK_NETFILTER); err != nil {
			return nil, err
		}
		if exchange(c.queue, p.order.QueueSubscribed) != nil {
			c.dropQueue() // a kernel without NFQUEUE: all are admitted
		}
	}
	return c, nil
}

func (c *place) dropQueue() {
	_ = syscall.Close(c.queue)
	c.queue = 0
}

// install writes the first rules of those in ways that the kernel can: the last
// does not ask, all before it do.
func (c *place) install(ways []Batch) (err error) {
	if c.noRules != nil {
		return c.noRules
	}
	for i, way := range ways {
		asks := i < len(ways)-1
		if asks && c.queue == 0 {
			continue
		}
		if err = exchange(c.rules, way); err == nil {
			if !asks && c.queue != 0 {
				c.dropQueue()
			}
			return nil
		}
	}
	return err
}

// allowIPv6 undoes, in the current namespace, what a system that has IPv6 off by
// default hands down to new namespaces. Where that cannot be written it stays off.
func allowIPv6() {
	for _, of := range []string{"all", "default"} {
		name := "/proc/sys/net/ipv6/conf/" + of + "/disable_ipv6"
		if now := read(name); now != "" && now[0] != '0' {
			_ = write(name, "0")
		}
	}
}

// Powers reports whether this thread may do what building takes.
func Powers() error {
	var have capabilities
	if err := have.get(); err != nil {
		return at("capget", err)
	}
	for _, c := range builders {
		if have[c/32].effective&(1<<(c%32)) == 0 {
			return at("a capability is missing", syscall.EPERM)
		}
	}
	return nil
}

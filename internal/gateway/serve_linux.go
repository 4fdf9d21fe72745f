package gateway

import (
	"context"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// take makes what the shim hands over this process's own.
func (c *capture) take(n note, fds []int) error {
	all := handed(n.IPv6, n.AskOutside, n.AskInside)
	if len(all) != len(fds) || len(n.Links) != 2 {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return &StepError{Step: StepHand, Err: fmt.Errorf("want %d descriptors, got %d: is RLIMIT_NOFILE too low?", len(all), len(fds))}
	}
	c.inode = n.Inode
	for i, r := range all {
		c.files[r] = os.NewFile(uintptr(fds[i]), "gateway")
	}
	c.down, c.up = n.Links[0], n.Links[1]
	c.down.Socket, c.up.Socket = c.files[roleDown], c.files[roleUp]
	return nil
}

// serve turns descriptors into listeners and answers DNS, counts what UDP is
// refused, decides about connections and accepts for the published ports.
func (c *capture) serve(o *Options) error {
	for _, r := range []role{roleTCP4, roleTCP6, roleLocal4, roleLocal6} {
		l, err := c.listener(r)
		if err != nil {
			return &StepError{Step: StepHand, Err: err}
		}
		if l != nil {
			c.listeners = append(c.listeners, l)
		}
	}
	for _, r := range []role{roleDNSStream4, roleDNSStream6, roleLocalDNSStream4, roleLocalDNSStream6} {
		l, err := c.listener(r)
		if err != nil {
			return &StepError{Step: StepHand, Err: err}
		}
		if l != nil {
			c.dnsStreams = append(c.dnsStreams, l)
			c.serving.Go(func() { c.answerer.ServeTCP(c.ctx, l) })
		}
	}
	for _, r := range []role{roleDNS4, roleDNS6, roleLocalDNS4, roleLocalDNS6} {
		conn, err := c.packets(r)
		if err != nil {
			return &StepError{Step: StepHand, Err: err}
		}
		if conn != nil {
			c.dnsPackets = append(c.dnsPackets, conn)
			c.serving.Go(func() { c.answerPackets(conn, r) })
		}
	}
	for _, r := range []role{roleUDP4, roleUDP6} {
		if f := c.files[r]; f != nil {
			c.serving.Go(func() { c.countRefused(f, r == roleUDP6) })
		}
	}
	c.asksFirst = c.files[roleAskInside] != nil && (o.Admission == nil || c.files[roleAskOutside] != nil)
	decide := o.Admission
	if decide == nil {
		decide = onlyListening
	}
	for _, r := range []role{roleAskOutside, roleAskInside} {
		if f := c.files[r]; f != nil {
			c.serving.Go(func() { c.admit(f, decide) })
		}
	}
	return c.publish(o.Publish)
}

// listener makes a listener of a handed descriptor; nil where there is none.
func (c *capture) listener(r role) (net.Listener, error) {
	f := c.files[r]
	if f == nil {
		return nil, nil
	}
	c.files[r] = nil
	defer f.Close()
	return net.FileListener(f)
}

func (c *capture) packets(r role) (*net.UDPConn, error) {
	f := c.files[r]
	if f == nil {
		return nil, nil
	}
	c.files[r] = nil
	defer f.Close()
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// stopServing ends what serve has begun, but for the caller's listeners.
func (c *capture) stopServing() {
	for _, l := range append(c.dnsStreams, c.published...) {
		_ = l.Close()
	}
	for _, conn := range c.dnsPackets {
		_ = conn.Close()
	}
	for _, r := range []role{roleUDP4, roleUDP6, roleAskOutside, roleAskInside} {
		if f := c.files[r]; f != nil {
			_ = f.Close()
		}
	}
}

// Decider is Options.Admission's type.
type decider = func(context.Context, Connection) Admission

// onlyListening admits to the loopback only where something listens on the host's.
func onlyListening(_ context.Context, conn Connection) Admission {
	if !conn.Loopback {
		return Admit
	}
	if listening, err := hostListens(conn.To); err == nil && !listening {
		return Refuse
	}
	return Admit
}

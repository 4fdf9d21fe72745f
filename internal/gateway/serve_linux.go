package gateway

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway/link"
	"github.com/understudy-proxy/understudy/internal/gateway/shim"
)

// take makes what the shim hands over this process's own.
func (c *capture) take(n shim.Note, fds []int) error {
	all := n.Handed()
	if len(all) != len(fds) {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return &StepError{Step: StepHand, Err: fmt.Errorf("want %d descriptors, got %d: is RLIMIT_NOFILE too low?", len(all), len(fds))}
	}
	c.inode = n.Inode
	for i, r := range all {
		if r != shim.DownDevice && r != shim.UpDevice {
			_ = unix.SetNonblock(fds[i], true) // for the runtime's poller
		}
		c.files[r] = os.NewFile(uintptr(fds[i]), "gateway")
	}
	c.down, c.up = Link{Name: link.Down, Index: link.Index}, Link{Name: link.Up, Index: link.Index}
	c.down.Socket, c.up.Socket = c.files[shim.Down], c.files[shim.Up]
	c.down.Device, c.up.Device = c.files[shim.DownDevice], c.files[shim.UpDevice]
	return nil
}

// serve turns descriptors into listeners and answers DNS, counts what UDP is
// refused, decides about connections and accepts for the published ports.
func (c *capture) serve(o *Options) error {
	for _, r := range []shim.Role{shim.TCP4, shim.TCP6, shim.Local4, shim.Local6} {
		l, err := c.listener(r)
		if err != nil {
			return &StepError{Step: StepHand, Err: err}
		}
		if l != nil {
			c.listeners = append(c.listeners, l)
		}
	}
	for _, r := range []shim.Role{shim.DNSStream4, shim.DNSStream6, shim.LocalDNSStream4, shim.LocalDNSStream6} {
		l, err := c.listener(r)
		if err != nil {
			return &StepError{Step: StepHand, Err: err}
		}
		if l != nil {
			c.dnsStreams = append(c.dnsStreams, l)
			c.serving.Go(func() { c.answerer.ServeTCP(c.ctx, l) })
		}
	}
	for _, r := range []shim.Role{shim.DNS4, shim.DNS6, shim.LocalDNS4, shim.LocalDNS6} {
		conn, err := c.packets(r)
		if err != nil {
			return &StepError{Step: StepHand, Err: err}
		}
		if conn != nil {
			c.dnsPackets = append(c.dnsPackets, conn)
			c.serving.Go(func() { c.answerPackets(conn, r) })
		}
	}
	for _, r := range []shim.Role{shim.UDP4, shim.UDP6} {
		if f := c.files[r]; f != nil {
			c.serving.Go(func() { c.countRefused(f, r == shim.UDP6) })
		}
	}
	c.asksFirst = c.files[shim.AskInside] != nil && (o.Admission == nil || c.files[shim.AskOutside] != nil)
	decide := o.Admission
	if decide == nil {
		decide = func(ctx context.Context, conn Connection) Admission {
			a := onlyListening(ctx, conn)
			if a == Refuse && o.Refused != nil {
				o.Refused(conn)
			}
			return a
		}
	}
	for _, r := range []shim.Role{shim.AskOutside, shim.AskInside} {
		if f := c.files[r]; f != nil {
			c.serving.Go(func() { c.admit(f, decide) })
		}
	}
	return c.publish(o.Publish)
}

// probes gives the sockets for probes away.
func (c *capture) probes() (down, up ProbeEnd) {
	near, far := link.Addresses()
	down, up = ProbeEnd{c.files[shim.DownProbes], near}, ProbeEnd{c.files[shim.UpProbes], far}
	c.files[shim.DownProbes], c.files[shim.UpProbes] = nil, nil
	return down, up
}

// listener makes a listener of a handed descriptor; nil where there is none.
func (c *capture) listener(r shim.Role) (net.Listener, error) {
	f := c.files[r]
	if f == nil {
		return nil, nil
	}
	c.files[r] = nil
	defer f.Close()
	return net.FileListener(f)
}

func (c *capture) packets(r shim.Role) (*net.UDPConn, error) {
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
	for _, r := range []shim.Role{shim.UDP4, shim.UDP6, shim.AskOutside, shim.AskInside} {
		if f := c.files[r]; f != nil {
			_ = f.Close()
		}
	}
}

// Decider is Options.Admission's type.
type decider = func(context.Context, Connection) Admission

// onlyListening admits to the loopback only where something listens on the host's.
func onlyListening(ctx context.Context, conn Connection) Admission {
	if !conn.Loopback {
		return Admit
	}
	if listening, err := hostListens(conn.To); err == nil && !listening && !(captured() && answers(ctx, conn.To)) {
		return Refuse
	}
	return Admit
}

// captured reports whether this process is itself in a captured command's namespace: there
// a dependency on the loopback is one of the capture's outside, and no listener of ours.
var captured = sync.OnceValue(func() bool {
	all, err := net.InterfaceAddrs()
	_, own := link.Addresses()
	return err == nil && slices.ContainsFunc(all, func(a net.Addr) bool {
		network, ok := a.(*net.IPNet)
		return ok && network.IP.Equal(own.AsSlice())
	})
})

// answers reports whether a connection can be made. The capture outside, which knows, is
// asked by one.
func answers(ctx context.Context, to netip.AddrPort) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", to.String())
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

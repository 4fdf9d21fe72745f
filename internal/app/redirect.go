package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/redirect"
	"github.com/understudy-proxy/understudy/proxy"
)

// checkTransparent refuses rules that would lead nowhere.
func (p *parts) checkTransparent() error {
	if !p.c.Transparent.InstallRules {
		return nil
	}
	there := false
	for _, l := range p.c.Listen {
		if l.Kind != config.ListenTransparent {
			continue
		}
		there = true
		if host, _, err := net.SplitHostPort(l.Addr); err == nil && !reachable(host) {
			return Usage(fmt.Errorf("install rules: connections cannot be redirected to %s\nhint: listen on the loopback, as --transparent :15001, or on all addresses, as --transparent 0.0.0.0:15001", l.Addr))
		}
	}
	if !there {
		return Usage(errors.New("install rules: there is no listener to lead connections to\nhint: add --transparent :15001"))
	}
	return nil
}

// reachable reports whether a redirected connection gets to a listener on host:
// REDIRECT leads to the first address of the loopback, or of the link that the
// connection came by.
func reachable(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && (addr.IsUnspecified() || addr == netip.IPv6Loopback() || addr == netip.AddrFrom4([4]byte{127, 0, 0, 1}))
}

// openDoor opens a transparent listener. Where the rules are ours, one on the
// loopback of IPv4 has a sister on that of IPv6 with the same port: what IPv6
// carries must not get away because nobody thought of it.
func (p *parts) openDoor(l config.Listener) error {
	if err := p.addDoor(l); err != nil {
		return listenError(l, err)
	}
	at := p.listeners[len(p.listeners)-1].address()
	if !p.c.Transparent.InstallRules || !at.Addr().Is4() || p.wantsIPv6() {
		return nil
	}
	l.Addr = netip.AddrPortFrom(netip.IPv6Loopback(), at.Port()).String()
	err := p.addDoor(l)
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		return nil // there is no IPv6
	}
	return listenError(l, err)
}

// wantsIPv6 reports whether a transparent listener for IPv6 was asked for.
func (p *parts) wantsIPv6() bool {
	return slices.ContainsFunc(p.c.Listen, func(l config.Listener) bool {
		at, err := netip.ParseAddrPort(l.Addr)
		return l.Kind == config.ListenTransparent && err == nil && at.Addr().Is6()
	})
}

func (p *parts) addDoor(l config.Listener) error {
	d, err := redirect.Listen(l.Addr)
	if err != nil {
		return err
	}
	p.listeners = append(p.listeners, listener{Listener: l, ln: d, door: d, shown: d.Addr().String()})
	return nil
}

// address is where a listener listens.
func (l listener) address() netip.AddrPort {
	a, _ := l.ln.Addr().(*net.TCPAddr) // all of them are
	return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
}

// serveTransparent serves a door until ctx ends. Before it closes, no more
// connections are led to it.
func (p *parts) serveTransparent(ctx context.Context, l listener) error {
	served, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := context.AfterFunc(ctx, func() {
		p.removeRules()
		stop()
	})
	defer ended()
	return p.server.ServeTransparent(served, l.ln, "transparent "+l.shown, func(nc net.Conn) (proxy.Meant, error) {
		to, err := l.door.Destination(nc)
		if err == nil {
			err = p.own.Came(nc, to)
		}
		return proxy.Meant{Host: to.String()}, err
	})
}

// installRules leads connections to the doors, now that they are open.
func (p *parts) installRules() error {
	t := &p.c.Transparent
	if !t.InstallRules {
		return nil
	}
	r := rulesOf(t)
	all := true // doors listen on all addresses
	for _, l := range p.listeners {
		at := l.address()
		if l.door == nil {
			r.Own = append(r.Own, at.Port())
			continue
		}
		everywhere := at.Addr().IsUnspecified()
		if (at.Addr().Is4() || everywhere) && r.IPv4 == 0 {
			r.IPv4 = at.Port()
		}
		if at.Addr().Is6() && r.IPv6 == 0 {
			r.IPv6 = at.Port()
		}
		if at.Port() != r.IPv4 && at.Port() != r.IPv6 {
			r.Own = append(r.Own, at.Port())
		}
		all = all && everywhere
	}
	r.Forwarded = all
	if p.admin != nil {
		if a, ok := p.admin.Addr().(*net.TCPAddr); ok {
			r.Own = append(r.Own, uint16(a.Port))
		}
	}
	lease, err := r.Install()
	if err != nil {
		return Setup(fmt.Errorf("install rules: %w", err))
	}
	p.lease = lease
	return nil
}

// rulesOf are the rules of a configuration, still without doors.
func rulesOf(t *config.Transparent) redirect.Rules {
	ports := func(from []config.Ports) (to []redirect.Ports) {
		for _, p := range from {
			to = append(to, redirect.Ports(p))
		}
		return to
	}
	return redirect.Rules{Ports: ports(t.Ports), SkipPorts: ports(t.SkipPorts), Skip: t.Skip, SkipUIDs: t.SkipUIDs}
}

// removeRules takes the rules away; it may be called more than once.
func (p *parts) removeRules() {
	if p.lease == nil {
		return
	}
	if err := p.lease.Close(); err != nil {
		p.log.Warn("remove rules", zap.Error(err), zap.String("remedy", "sudo nft delete table inet "+p.lease.Table))
	}
}

// tellDoors says what transparent doors can do and what leads to them.
func (p *parts) tellDoors() {
	doors, tproxy, ipv6 := 0, true, false
	for _, l := range p.listeners {
		if l.door != nil {
			doors++
			tproxy = tproxy && l.door.TPROXY
			ipv6 = ipv6 || l.address().Addr().Is6()
		}
	}
	if doors == 0 {
		return
	}
	if !tproxy {
		p.log.Info("transparent listeners take what REDIRECT leads to them; TPROXY needs CAP_NET_ADMIN")
	}
	if p.lease == nil {
		return
	}
	p.events.Note("rules_installed", "", map[string]any{"table": p.lease.Table, "removed_by_kernel": p.lease.Kernel})
	p.log.Info("TCP of this network namespace is led here until the end", zap.String("table", "inet "+p.lease.Table))
	if !p.lease.Kernel {
		p.log.Warn("this kernel, before Linux 5.12, does not take the rules away if understudy is killed; the next run with --install-rules does",
			zap.String("remedy", "sudo nft delete table inet "+p.lease.Table))
	}
	if !ipv6 {
		p.log.Warn("connections over IPv6 are not led here", zap.String("hint", "--transparent '[::]:PORT' takes both families"))
	}
}

// KeptRules is the name of the table that KeepRules writes.
const KeptRules = redirect.Kept

// KeepRules leads connections of this network namespace to a listener on port,
// for as long as the namespace lasts, with what c says of ports, networks and
// users to leave alone. Forwarded leads what is forwarded for others, too.
func KeepRules(c *config.Config, port uint16, forwarded bool) error {
	r := rulesOf(&c.Transparent)
	r.IPv4, r.IPv6, r.Forwarded = port, port, forwarded
	return Setup(r.Leave())
}

// RemoveRules takes away what KeepRules left; nothing is no error.
func RemoveRules() error { return Setup(redirect.Remove()) }

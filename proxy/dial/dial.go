package dial

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// stagger is how long an address has before the next is tried beside it
	// (RFC 8305, 8).
	stagger = 250 * time.Millisecond
	// shunFor is how long an address that did not answer, or that another overtook, is
	// tried after the others.
	shunFor = 30 * time.Second
	// refusedFor is the same for one that said no at once: to find that out again costs
	// next to nothing, and what it stands for may just be starting again.
	refusedFor = time.Second
)

// Dialer makes connections. The zero value is ready; any number of goroutines may use it.
type Dialer struct {
	// One connects to one address, IP:port, and returns soon after ctx has ended; nil
	// means net.Dialer's.
	One func(ctx context.Context, network, addr string) (net.Conn, error)
	// Lookup returns a host's addresses in the order of preference, at least one; nil
	// means net.DefaultResolver's.
	Lookup func(ctx context.Context, host string) ([]net.IPAddr, error)

	mu   sync.Mutex
	shun map[string]time.Time // IP:port → until when it comes last
}

// DialContext connects to addr, host:port, as net.Dialer's does, but for a host with several
// addresses: the next is begun 250 ms after the one before, or as soon as that failed,
// families by turns. The first connection wins, the others are given up. What did not answer
// within that time comes last for 30 seconds, and what failed sooner for one.
//
// Where all fail the error has each address with its own; its Timeout reports whether one
// did not answer.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return d.one(ctx, network, addr) // which says what is wrong
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return d.one(ctx, network, addr)
	}
	ips, err := d.lookup(ctx, host)
	switch {
	case err != nil:
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	case len(ips) == 1:
		return d.one(ctx, network, net.JoinHostPort(ips[0].String(), port))
	}
	addrs := make([]string, 0, len(ips))
	for _, ip := range byTurns(ips) {
		// A hosts file may name one twice, and so may a name server.
		if addr := net.JoinHostPort(ip.String(), port); !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return d.race(ctx, network, d.order(addrs))
}

func (d *Dialer) one(ctx context.Context, network, addr string) (net.Conn, error) {
	if d.One != nil {
		return d.One(ctx, network, addr)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

func (d *Dialer) lookup(ctx context.Context, host string) ([]net.IPAddr, error) {
	if d.Lookup != nil {
		return d.Lookup(ctx, host)
	}
	return net.DefaultResolver.LookupIPAddr(ctx, host)
}

// byTurns takes the first address's family and the other by turns, as long as there are
// both (RFC 8305, 4).
func byTurns(ips []net.IPAddr) []net.IPAddr {
	var own, other []net.IPAddr
	is4 := func(ip net.IPAddr) bool { return ip.IP.To4() != nil }
	for _, ip := range ips {
		if is4(ip) == is4(ips[0]) {
			own = append(own, ip)
		} else {
			other = append(other, ip)
		}
	}
	all := make([]net.IPAddr, 0, len(ips))
	for i := range max(len(own), len(other)) {
		if i < len(own) {
			all = append(all, own[i])
		}
		if i < len(other) {
			all = append(all, other[i])
		}
	}
	return all
}

// order puts those to shun last.
func (d *Dialer) order(addrs []string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.shun) == 0 {
		return addrs
	}
	now := time.Now()
	good, late := make([]string, 0, len(addrs)), []string(nil)
	for _, addr := range addrs {
		if now.Before(d.shun[addr]) {
			late = append(late, addr)
		} else {
			good = append(good, addr)
		}
	}
	return append(good, late...)
}

// attempt is one address's turn.
type attempt struct {
	addr  string
	begun time.Time
	took  time.Duration // until it failed
	err   error         // why it failed; nil while it goes on, too
}

// result is what became of one.
type result struct {
	of  *attempt
	nc  net.Conn
	err error
}

// race returns the first connection that comes about.
func (d *Dialer) race(ctx context.Context, network string, addrs []string) (net.Conn, error) {
	var (
		begun = make([]*attempt, 0, len(addrs))
		ended = make(chan result)
		over  = make(chan struct{})
		next  = time.NewTimer(stagger)
		open  = 0
	)
	all, giveUp := context.WithCancel(ctx)
	defer func() {
		next.Stop()
		close(over)
		giveUp()
	}()
	begin := func() {
		a := &attempt{addr: addrs[len(begun)], begun: time.Now()}
		begun = append(begun, a)
		open++
		next.Reset(stagger)
		go func() { // ends with its call of one, which giveUp ends
			nc, err := d.one(all, network, a.addr)
			select {
			case ended <- result{a, nc, err}:
			case <-over:
				if err == nil {
					_ = nc.Close()
				}
			}
		}()
	}
	begin()
	for {
		select {
		case <-next.C:
			if len(begun) < len(addrs) && ctx.Err() == nil {
				begin()
			}
			continue
		case r := <-ended:
			open--
			if r.err == nil {
				d.note(ctx, r.of, begun)
				return r.nc, nil
			}
			r.of.took, r.of.err = time.Since(r.of.begun), r.err
		}
		switch {
		case ctx.Err() != nil: // all end now
			if open == 0 {
				d.note(ctx, nil, begun)
				return nil, failed(network, begun)
			}
		case len(begun) < len(addrs):
			begin()
		case open == 0:
			d.note(ctx, nil, begun)
			return nil, failed(network, begun)
		}
	}
}

// note remembers which did not answer: those that failed, and those that had their time,
// but where a connection came about by one that was begun before them. That the caller's time
// ran out tells nothing.
func (d *Dialer) note(ctx context.Context, by *attempt, begun []*attempt) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	earlier := true // than by
	for _, a := range begun {
		if a == by {
			delete(d.shun, a.addr)
			earlier = false
			continue
		}
		had := earlier && now.Sub(a.begun) >= stagger
		if !had && (a.err == nil || ctx.Err() != nil) {
			continue
		}
		if d.shun == nil {
			d.shun = map[string]time.Time{}
		}
		until := now.Add(shunFor)
		if a.err != nil && a.took < stagger {
			until = now.Add(refusedFor)
		}
		d.shun[a.addr] = until
	}
	if len(begun) > 1 {
		maps.DeleteFunc(d.shun, func(_ string, until time.Time) bool { return !now.Before(until) })
	}
}

func failed(network string, all []*attempt) error {
	return &net.OpError{Op: "dial", Net: network, Err: attempts(all)}
}

// attempts are an error: none succeeded.
type attempts []*attempt

// Error gives each address and what became of it.
func (all attempts) Error() string {
	var b strings.Builder
	for i, a := range all {
		if i > 0 {
			b.WriteString("; ")
		}
		err := a.err
		if op, ok := err.(*net.OpError); ok && op.Err != nil { // the address is said
			err = op.Err
		}
		b.WriteString(a.addr + ": " + err.Error())
	}
	return b.String()
}

// Unwrap returns what became of each.
func (all attempts) Unwrap() []error {
	errs := make([]error, len(all))
	for i, a := range all {
		errs[i] = a.err
	}
	return errs
}

// Timeout reports whether one did not answer in time.
func (all attempts) Timeout() bool {
	return slices.ContainsFunc(all, func(a *attempt) bool {
		late, ok := a.err.(interface{ Timeout() bool })
		return ok && late.Timeout()
	})
}

package redirect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"weak"
)

// Mark is what this process's own connections carry, where it may mark them
// (CAP_NET_ADMIN, or CAP_NET_RAW since Linux 5.17). Rules let it pass.
const Mark = 0x75640003

// ErrLoop says that the rules lead this process's own connections back to it.
var ErrLoop = errors.New("the rules lead understudy's own connections back to it")

// Own makes connections and knows them again where they come in by a door. The
// zero value is ready; any number of goroutines may use it.
type Own struct {
	mu     sync.Mutex
	dialed conns
	came   conns
}

// Dial makes a connection that rules can tell from others by its Mark. It fails
// with ErrLoop where the connection came to one of our own doors.
func (o *Own) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { mark(fd) })
	}}
	nc, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	made := pair{from: addrPort(nc.LocalAddr()), to: addrPort(nc.RemoteAddr())}
	if o.meet(nc, made, &o.dialed, &o.came) {
		_ = nc.Close()
		return nil, loop(made.to)
	}
	return nc, nil
}

// Came notes an accepted connection, whose client meant to, and fails with
// ErrLoop where that client is this process. Whichever of Dial and Came is
// second notices.
func (o *Own) Came(nc net.Conn, to netip.AddrPort) error {
	if o.meet(nc, pair{from: addrPort(nc.RemoteAddr()), to: plain(to)}, &o.came, &o.dialed) {
		return loop(to)
	}
	return nil
}

func loop(to netip.AddrPort) error {
	return fmt.Errorf("%w: to %s\nhint: let the rules skip uid %d, or packets with the mark %#x; --install-rules does", ErrLoop, to, os.Getuid(), Mark)
}

// meet adds a connection to one side and reports whether the other has it.
func (o *Own) meet(nc net.Conn, p pair, side, other *conns) bool {
	t := tcp(nc)
	if t == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	side.add(p, t)
	return other.has(p)
}

// pair is a connection as its client sees it: no two that are open have the same.
type pair struct{ from, to netip.AddrPort }

// conns are connections that were open when they were added.
type conns struct {
	by    map[pair]weak.Pointer[net.TCPConn]
	limit int // how many there may be before a look for those that are closed
}

func (c *conns) add(p pair, t *net.TCPConn) {
	if len(c.by) >= c.limit {
		for p, t := range c.by {
			if !isOpen(t.Value()) {
				delete(c.by, p)
			}
		}
		c.limit = max(64, 2*len(c.by)) // so that a look costs each addition a little at most
	}
	if c.by == nil {
		c.by = map[pair]weak.Pointer[net.TCPConn]{}
	}
	c.by[p] = weak.Make(t)
}

// has reports whether p is there and open. A closed one may have been followed
// by a stranger with the same ports.
func (c *conns) has(p pair) bool {
	t, ok := c.by[p]
	return ok && isOpen(t.Value())
}

func isOpen(t *net.TCPConn) bool {
	if t == nil {
		return false
	}
	raw, err := t.SyscallConn()
	return err == nil && raw.Control(func(uintptr) {}) == nil
}

// tcp is the TCP connection below nc; nil for none.
func tcp(nc net.Conn) *net.TCPConn {
	for {
		switch v := nc.(type) {
		case *net.TCPConn:
			return v
		case interface{ NetConn() net.Conn }:
			nc = v.NetConn()
		default:
			return nil
		}
	}
}

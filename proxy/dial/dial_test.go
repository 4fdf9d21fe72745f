package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is one in which each address answers in its own way.
type network struct {
	*Dialer
	mu     sync.Mutex
	begun  []string // in this order
	open   map[string]int
	answer map[string]answer
}

type answer struct {
	after time.Duration // 0 for at once
	err   error         // instead of a connection
	deaf  bool          // connects although it was told to stop
}

const never = time.Hour

func newNetwork(hosts map[string][]string, answers map[string]answer) *network {
	n := &network{open: map[string]int{}, answer: answers}
	n.Dialer = &Dialer{
		One: n.one,
		Lookup: func(_ context.Context, host string) (ips []net.IPAddr, err error) {
			for _, a := range hosts[host] {
				ips = append(ips, net.IPAddr{IP: net.ParseIP(a)})
			}
			if ips == nil {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			return ips, nil
		},
	}
	return n
}

func (n *network) one(ctx context.Context, network, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.begun = append(n.begun, addr)
	n.mu.Unlock()
	fail := func(err error) error { return &net.OpError{Op: "dial", Net: network, Err: err} }
	a := n.answer[addr]
	if a.deaf {
		time.Sleep(a.after)
	} else if a.after > 0 {
		select {
		case <-time.After(a.after):
		case <-ctx.Done():
			return nil, fail(ctx.Err())
		}
	}
	if a.err != nil {
		return nil, fail(a.err)
	}
	n.mu.Lock()
	n.open[addr]++
	n.mu.Unlock()
	return &conn{n: n, addr: addr}, nil
}

// took returns the addresses that were tried since it was last asked.
func (n *network) took() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.begun
	n.begun = nil
	return b
}

type conn struct {
	net.Conn
	n    *network
	addr string
}

func (c *conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.open[c.addr]--
	return nil
}

// dial connects, and returns to what and after how long.
func (n *network) dial(t *testing.T, addr string) (to string, after time.Duration) {
	t.Helper()
	begun := time.Now()
	nc, err := n.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatalf("DialContext(%s) = %v", addr, err)
	}
	defer nc.Close()
	return nc.(*conn).addr, time.Since(begun)
}

const a, b, c = "192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"

var abc = map[string][]string{"shop.test": {"192.0.2.1", "192.0.2.2", "192.0.2.3"}}

func TestFirstThatConnects(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers map[string]answer
		to      string
		after   time.Duration
		begun   []string
	}{
		{"all alive", nil, a, 0, []string{a}},
		{"a slow one within its time", map[string]answer{a: {after: 249 * time.Millisecond}}, a, 249 * time.Millisecond, []string{a}},
		{"dead", map[string]answer{a: {after: never}}, b, 250 * time.Millisecond, []string{a, b}},
		{"two dead", map[string]answer{a: {after: never}, b: {after: never}}, c, 500 * time.Millisecond, []string{a, b, c}},
		{"refused", map[string]answer{a: {err: syscall.ECONNREFUSED}}, b, 0, []string{a, b}},
		{"dead, refused", map[string]answer{a: {after: never}, b: {err: syscall.ECONNREFUSED}}, c, 250 * time.Millisecond, []string{a, b, c}},
		{"refused, dead", map[string]answer{a: {err: syscall.ECONNREFUSED}, b: {after: never}}, c, 250 * time.Millisecond, []string{a, b, c}},
		{"refused late", map[string]answer{a: {after: 100 * time.Millisecond, err: syscall.ECONNREFUSED}, b: {after: 200 * time.Millisecond}}, b, 300 * time.Millisecond, []string{a, b}},
		{"all slow", map[string]answer{a: {after: 400 * time.Millisecond}, b: {after: 400 * time.Millisecond}}, a, 400 * time.Millisecond, []string{a, b}},
		{"the last is slow", map[string]answer{a: {after: never}, b: {after: never}, c: {after: time.Minute}}, c, 500*time.Millisecond + time.Minute, []string{a, b, c}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(abc, test.answers)
				to, after := n.dial(t, "shop.test:80")
				if begun := n.took(); to != test.to || after != test.after || !slices.Equal(begun, test.begun) {
					t.Errorf("connected to %s after %v by way of %v, want %s after %v by way of %v", to, after, begun, test.to, test.after, test.begun)
				}
			})
		})
	}
}

func TestWhatWasDeadComesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(abc, map[string]answer{a: {after: never}, b: {err: syscall.ECONNREFUSED}})
		n.dial(t, "shop.test:80")
		n.took()
		for range 3 {
			to, after := n.dial(t, "shop.test:80")
			if begun := n.took(); to != c || after != 0 || !slices.Equal(begun, []string{c}) {
				t.Errorf("a second connection went to %s after %v by way of %v, want %s at once", to, after, begun, c)
			}
		}
		n.answer = nil // all are well again
		time.Sleep(shunFor)
		if to, after := n.dial(t, "shop.test:80"); to != a || after != 0 {
			t.Errorf("after %v the connection went to %s after %v, want %s at once", shunFor, to, after, a)
		}

		// What is shunned is tried all the same, and taken back where it answers.
		n.answer = map[string]answer{a: {after: never}}
		n.dial(t, "shop.test:80")
		n.took()
		n.answer = map[string]answer{b: {err: syscall.ECONNREFUSED}, c: {err: syscall.ECONNREFUSED}}
		to, after := n.dial(t, "shop.test:80")
		if begun := n.took(); to != a || after != 0 || !slices.Equal(begun, []string{b, c, a}) {
			t.Errorf("connected to %s after %v by way of %v, want %s at once, last", to, after, begun, a)
		}
		if to, _ := n.dial(t, "shop.test:80"); to != a {
			t.Errorf("then connected to %s, want %s", to, a)
		}
	})
}

// A server on ::1 that starts again is refused for a moment, and another may listen on
// 127.0.0.1: what goes there meanwhile comes back soon. Where nobody else listens, ::1 is
// tried at once.
func TestRefusedIsTriedAgainSoon(t *testing.T) {
	const v6, v4 = "[::1]:80", "127.0.0.1:80"
	refused := answer{err: syscall.ECONNREFUSED}
	for _, test := range []struct {
		name    string
		answers map[string]answer // while it starts again
		to      string            // meanwhile; "" for nowhere
		begun   []string
		late    bool // for as long as what is silent
	}{
		{"another listens", map[string]answer{v6: refused}, v4, []string{v6, v4}, false},
		{"another listens, far", map[string]answer{v6: refused, v4: {after: time.Second}}, v4, []string{v6, v4}, false},
		{"refused late", map[string]answer{v6: {after: 250 * time.Millisecond, err: syscall.EHOSTUNREACH}, v4: {after: time.Second}}, v4, []string{v6, v4}, true},
		{"nobody listens", map[string]answer{v6: refused, v4: refused}, "", []string{v6, v4}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(map[string][]string{"localhost": {"::1", "127.0.0.1"}}, nil)
				n.dial(t, "localhost:80")
				n.answer = test.answers
				n.took()
				if nc, err := n.DialContext(t.Context(), "tcp", "localhost:80"); (err == nil) != (test.to != "") || err == nil && nc.(*conn).addr != test.to {
					t.Errorf("meanwhile DialContext = %v, %v; want %q", nc, err, test.to)
				}
				if begun := n.took(); !slices.Equal(begun, test.begun) {
					t.Errorf("meanwhile by way of %v, want %v", begun, test.begun)
				}
				if test.to != "" {
					if to, _ := n.dial(t, "localhost:80"); to != test.to || n.took()[0] != test.to {
						t.Errorf("at once again to %s, want %s, tried first", to, test.to)
					}
					time.Sleep(time.Second)
				}
				n.answer = nil
				want := v6
				if test.late {
					want = v4
				}
				if to, _ := n.dial(t, "localhost:80"); to != want {
					t.Errorf("afterwards to %s, want %s", to, want)
				}
			})
		})
	}
}

// The same with sockets: each connection goes to the server that is there.
func TestServerOnIPv6StartsAgain(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("SKIPPED: no IPv6 here: %v", err)
	}
	d := &Dialer{Lookup: func(context.Context, string) ([]net.IPAddr, error) {
		return []net.IPAddr{{IP: net.IPv6loopback}, {IP: net.IPv4(127, 0, 0, 1)}}, nil
	}}
	at := l.Addr().String()
	_, port, _ := net.SplitHostPort(at)
	for round := range 3 {
		if round > 0 {
			if l, err = net.Listen("tcp", at); err != nil {
				t.Skipf("SKIPPED: somebody took the port: %v", err)
			}
		}
		nc, err := d.DialContext(t.Context(), "tcp", "localhost:"+port)
		if err != nil {
			t.Fatalf("round %d: %v, want a connection", round, err)
		}
		if nc.RemoteAddr().String() != at {
			t.Errorf("round %d: connected to %s, want %s", round, nc.RemoteAddr(), at)
		}
		_ = nc.Close()
		_ = l.Close()
		if nc, err := d.DialContext(t.Context(), "tcp", "localhost:"+port); err == nil {
			_ = nc.Close()
			t.Skip("SKIPPED: somebody took the port")
		}
	}
}

// The caller's own impatience is not an address's fault.
func TestImpatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(abc, map[string]answer{a: {after: 200 * time.Millisecond}})
		for _, end := range []func() (context.Context, context.CancelFunc){
			func() (context.Context, context.CancelFunc) {
				return context.WithTimeout(t.Context(), 100*time.Millisecond)
			},
			func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(100*time.Millisecond, cancel)
				return ctx, cancel
			},
		} {
			ctx, cancel := end()
			begun := time.Now()
			if _, err := n.DialContext(ctx, "tcp", "shop.test:80"); !errors.Is(err, ctx.Err()) || time.Since(begun) != 100*time.Millisecond {
				t.Errorf("DialContext = %v after %v, want %v after 100ms", err, time.Since(begun), ctx.Err())
			}
			cancel()
			n.took()
			if to, after := n.dial(t, "shop.test:80"); to != a || after != 200*time.Millisecond {
				t.Errorf("then connected to %s after %v, want %s after 200ms", to, after, a)
			}
		}
	})
}

// A caller that left before the second had a chance has learnt for the next.
func TestDeadForAnImpatientCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(abc, map[string]answer{a: {after: never}, b: {after: 100 * time.Millisecond}})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := n.DialContext(ctx, "tcp", "shop.test:80"); err == nil {
			t.Fatal("connected in 300ms, want after 350ms")
		}
		if to, after := n.dial(t, "shop.test:80"); to != b || after != 100*time.Millisecond {
			t.Errorf("then connected to %s after %v, want %s after 100ms", to, after, b)
		}
	})
}

func TestLateConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(abc, map[string]answer{a: {after: time.Second, deaf: true}})
		if to, _ := n.dial(t, "shop.test:80"); to != b {
			t.Fatalf("connected to %s, want %s", to, b)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if begun := n.took(); n.open[a] != 0 || len(begun) != 2 {
			t.Errorf("%d connections to %s are open, by way of %v; want none", n.open[a], a, begun)
		}
	})
}

func TestNoneAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(abc, map[string]answer{a: {err: syscall.ECONNREFUSED}, b: {after: never}, c: {err: syscall.EHOSTUNREACH}})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := n.DialContext(ctx, "tcp", "shop.test:80")
		want := "dial tcp: 192.0.2.1:80: connection refused; 192.0.2.2:80: context deadline exceeded; 192.0.2.3:80: no route to host"
		if err == nil || err.Error() != want || time.Since(begun) != 10*time.Second {
			t.Fatalf("DialContext = %v after %v\nwant %s after 10s", err, time.Since(begun), want)
		}
		if late, ok := err.(net.Error); !ok || !late.Timeout() || !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("%v: is a timeout %t, want true and each cause within", err, ok && late.Timeout())
		}

		n.answer = map[string]answer{a: {err: syscall.ECONNREFUSED}, b: {err: syscall.ECONNREFUSED}, c: {err: syscall.ECONNREFUSED}}
		begun = time.Now()
		_, err = n.DialContext(t.Context(), "tcp", "shop.test:80")
		if late, ok := err.(net.Error); !ok || late.Timeout() || time.Since(begun) != 0 {
			t.Errorf("DialContext = %v after %v, want a refusal by each at once", err, time.Since(begun))
		}
	})
}

func TestFamiliesByTurns(t *testing.T) {
	for in, want := range map[string]string{
		"2001:db8::1 2001:db8::2 2001:db8::3 192.0.2.1 192.0.2.2": "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 2001:db8::3",
		"192.0.2.1 2001:db8::1 2001:db8::2":                       "192.0.2.1 2001:db8::1 2001:db8::2",
		"192.0.2.1 192.0.2.2":                                     "192.0.2.1 192.0.2.2",
	} {
		var ips []net.IPAddr
		for _, a := range strings.Fields(in) {
			ips = append(ips, net.IPAddr{IP: net.ParseIP(a)})
		}
		var got []string
		for _, ip := range byTurns(ips) {
			got = append(got, ip.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("byTurns(%s) = %v, want %s", in, got, want)
		}
	}
}

// One address is dialled as it always was: in the caller's goroutine, with its context.
func TestOneAddress(t *testing.T) {
	d := &Dialer{Lookup: func(_ context.Context, host string) ([]net.IPAddr, error) {
		if host != "one.test" {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return []net.IPAddr{{IP: net.ParseIP("fe80::1"), Zone: "eth0"}}, nil
	}}
	for addr, want := range map[string]string{
		"one.test:http": "[fe80::1%eth0]:http", "192.0.2.1:80": "192.0.2.1:80",
		"[fe80::1%2]:80": "[fe80::1%2]:80", ":80": ":80", "nonsense": "nonsense",
	} {
		var got string
		d.One = func(ctx context.Context, _, addr string) (net.Conn, error) {
			if got = addr; ctx != t.Context() {
				return nil, fmt.Errorf("%s was dialled with a context of its own", addr)
			}
			return nil, nil
		}
		if _, err := d.DialContext(t.Context(), "tcp", addr); err != nil || got != want {
			t.Errorf("DialContext(%s) dialled %q, %v; want %q", addr, got, err, want)
		}
	}
	_, err := d.DialContext(t.Context(), "tcp", "none.test:80")
	if _, ok := errors.AsType[*net.DNSError](err); !ok || err.Error() != "dial tcp: lookup none.test: no such host" {
		t.Errorf("DialContext = %v, want that there is no such host", err)
	}
}

// A hosts file may name an address twice, and a name server may, too.
func TestSameAddressTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := answer{err: syscall.ECONNREFUSED}
		n := newNetwork(map[string][]string{"shop.test": {"192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"}, "one.test": {"192.0.2.1", "192.0.2.1"}},
			map[string]answer{a: refused, b: refused})
		for host, want := range map[string][]string{"shop.test": {a, b}, "one.test": {a}} {
			_, err := n.DialContext(t.Context(), "tcp", host+":80")
			slices.Sort(n.begun) // one may have been refused for the other host before
			if begun := n.took(); err == nil || strings.Count(err.Error(), "refused") != len(want) || !slices.Equal(begun, want) {
				t.Errorf("DialContext(%s) = %v by way of %v, want a refusal by each of %v", host, err, begun, want)
			}
		}
	})
}

// Where the way is long to all, the first wins, and those begun behind it were not slow.
func TestFarIsNotDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := answer{after: 600 * time.Millisecond}
		n := newNetwork(abc, map[string]answer{a: far, b: far, c: far})
		if to, _ := n.dial(t, "shop.test:80"); to != a {
			t.Fatalf("connected to %s, want %s", to, a)
		}
		synctest.Wait()
		n.took()
		n.answer = map[string]answer{a: {err: syscall.ECONNREFUSED}}
		to, _ := n.dial(t, "shop.test:80")
		if begun := n.took(); to != b {
			t.Errorf("then connected to %s by way of %v, want %s: nothing overtook it", to, begun, b)
		}
	})
}

// None is begun once the caller's time is over, though one goes on that does not heed it.
func TestNoneIsBegunLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(abc, map[string]answer{a: {after: time.Second, deaf: true, err: syscall.EHOSTUNREACH}})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := n.DialContext(ctx, "tcp", "shop.test:80")
		if begun := n.took(); err == nil || !slices.Equal(begun, []string{a}) {
			t.Errorf("DialContext = %v by way of %v, want an error by way of %s", err, begun, a)
		}
	})
}

// Twenty dead addresses cost the caller's time and no more.
func TestManyDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ips []string
		answers := map[string]answer{}
		for i := range 20 {
			ip := fmt.Sprintf("192.0.2.%d", i)
			ips, answers[ip+":80"] = append(ips, ip), answer{after: never}
		}
		n := newNetwork(map[string][]string{"many.test": ips}, answers)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := n.DialContext(ctx, "tcp", "many.test:80")
		if took := time.Since(begun); err == nil || took != 10*time.Second || strings.Count(err.Error(), "deadline") != 20 {
			t.Errorf("DialContext = %v after %v, want 20 of them after 10s", err, took)
		}
	})
}

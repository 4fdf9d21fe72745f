package redirect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/nstest"
)

// bound ends what must not hang.
const bound = 20 * time.Second

// met is a connection that a door accepted.
type met struct {
	to  netip.AddrPort
	err error
}

// greet accepts at a door, tells of each connection and says "door" to its client.
func greet(t *testing.T, d *Door, own *Own) <-chan met {
	t.Helper()
	all := make(chan met, 16)
	go func() { // ends with the door
		for {
			nc, err := d.Accept()
			if err != nil {
				return
			}
			to, err := d.Destination(nc)
			if err == nil && own != nil {
				err = own.Came(nc, to)
			}
			all <- met{to, err}
			if err == nil {
				_, _ = io.WriteString(nc, "door")
			}
			_ = nc.Close()
		}
	}()
	t.Cleanup(func() { _ = d.Close() })
	return all
}

func open(t *testing.T, addr string) *Door {
	t.Helper()
	d, err := Listen(addr)
	if err != nil {
		t.Fatalf("Listen(%s): %v", addr, err)
	}
	return d
}

// say reads what a server says to its client.
func say(addr string) (string, error) {
	nc, err := net.DialTimeout("tcp", addr, bound)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(bound))
	b, err := io.ReadAll(nc)
	return string(b), err
}

// server says "server" to every client.
func server(t *testing.T, addrs ...string) func() error {
	return func() error {
		for _, a := range addrs {
			ln, err := net.Listen("tcp", a)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = ln.Close() })
			go func() { // ends with the listener
				for {
					nc, err := ln.Accept()
					if err != nil {
						return
					}
					_, _ = io.WriteString(nc, "server")
					_ = nc.Close()
				}
			}()
		}
		return nil
	}
}

func portOf(d *Door) uint16 { return addrPort(d.Addr()).Port() }

// install puts rules in force until the test's end.
func install(t *testing.T, r Rules) *Lease {
	t.Helper()
	l, err := r.Install()
	if err != nil {
		t.Fatalf("Install(%+v): %v", r, err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func wantMet(t *testing.T, all <-chan met, want string) {
	t.Helper()
	select {
	case m := <-all:
		if m.err != nil || m.to.String() != want {
			t.Errorf("Destination = %s, %v, want %s", m.to, m.err, want)
		}
	case <-time.After(bound):
		t.Errorf("no connection came for %s", want)
	}
}

func wantSaid(t *testing.T, addr, want string) {
	t.Helper()
	if got, err := say(addr); err != nil || got != want {
		t.Errorf("%s says %q, %v, want %q", addr, got, err, want)
	}
}

func TestRedirect(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Elsewhere(t, server(t, "203.0.113.9:80", "[2001:db8:9::9]:80"))
	t.Run("all addresses", func(t *testing.T) { testRedirect(t, "[::]:15001") })
	t.Run("the loopback", func(t *testing.T) { testRedirect(t, "127.0.0.1:15001", "[::1]:15001") })
}

func testRedirect(t *testing.T, doors ...string) {
	own := &Own{}
	var came []<-chan met
	for _, at := range doors {
		came = append(came, greet(t, open(t, at), own))
	}
	last := came[len(came)-1]
	lease := install(t, Rules{IPv4: 15001, IPv6: 15001, Own: []uint16{9900}})
	if !lease.Kernel {
		t.Log("this kernel knows no owners of tables")
	}
	wantSaid(t, "203.0.113.9:80", "door")
	wantMet(t, came[0], "203.0.113.9:80")
	wantSaid(t, "[2001:db8:9::9]:80", "door")
	wantMet(t, last, "[2001:db8:9::9]:80")
	// The loopback's servers are dependencies, too, and so is what is not there.
	wantSaid(t, "127.0.0.1:6379", "door")
	wantMet(t, came[0], "127.0.0.1:6379")
	wantSaid(t, "[::1]:6379", "door")
	wantMet(t, last, "[::1]:6379")

	// Our own connections go their way.
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	for _, to := range []string{"203.0.113.9:80", "[2001:db8:9::9]:80"} {
		nc, err := own.Dial(ctx, "tcp", to)
		if err != nil {
			t.Errorf("Dial(%s) = %v, want a connection", to, err)
			continue
		}
		if b, err := io.ReadAll(nc); string(b) != "server" {
			t.Errorf("%s says %q, %v to our own connection, want server", to, b, err)
		}
		_ = nc.Close()
	}

	// Who comes to the door itself is not passed on.
	for i, at := range []string{"127.0.0.1:15001", "[::1]:15001"} {
		_, _ = say(at)
		m := <-came[min(i, len(came)-1)]
		direct, ok := errors.AsType[*DirectError](m.err)
		if !ok || direct.To.String() != at {
			t.Errorf("Destination of a direct connection to %s = %s, %v, want a DirectError", at, m.to, m.err)
		}
	}

	if err := lease.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	wantSaid(t, "203.0.113.9:80", "server")
	wantSaid(t, "[2001:db8:9::9]:80", "server")
	if names := nstest.Tables(t); len(names) > 0 {
		t.Errorf("tables after Close: %v, want none", names)
	}
}

func TestSkip(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Elsewhere(t, server(t, "203.0.113.9:22", "203.0.113.9:53", "203.0.113.9:80", "203.0.113.9:8080", "203.0.113.9:8099", "203.0.113.9:9000",
		"[2001:db8:9::9]:22", "[2001:db8:9::9]:80", "192.0.2.2:80", "[2001:db8:1::2]:80"))
	greet(t, open(t, "[::]:15001"), nil)
	for _, tc := range []struct {
		name  string
		rules Rules
		door  []string
		not   []string
	}{
		{"names are the resolver's affair", Rules{}, []string{"203.0.113.9:80"}, []string{"203.0.113.9:53"}},
		{"ports", Rules{SkipPorts: []Ports{{22, 22}, {8080, 8099}}},
			[]string{"203.0.113.9:80", "203.0.113.9:9000"}, []string{"203.0.113.9:22", "[2001:db8:9::9]:22", "203.0.113.9:8080", "203.0.113.9:8099"}},
		{"only these", Rules{Ports: []Ports{{80, 80}, {8080, 8099}}, SkipPorts: []Ports{{8099, 8099}}},
			[]string{"203.0.113.9:80", "[2001:db8:9::9]:80", "203.0.113.9:8080"}, []string{"203.0.113.9:9000", "203.0.113.9:8099"}},
		{"networks", Rules{Skip: []netip.Prefix{netip.MustParsePrefix("192.0.2.77/24"), netip.MustParsePrefix("2001:db8:9::/47")}},
			[]string{"203.0.113.9:80", "[2001:db8:1::2]:80"}, []string{"192.0.2.2:80", "[2001:db8:9::9]:80"}},
		{"users", Rules{SkipUIDs: []uint32{4711, 0}}, nil, []string{"203.0.113.9:80", "[2001:db8:9::9]:80"}},
		{"other users", Rules{SkipUIDs: []uint32{4711}}, []string{"203.0.113.9:80", "[2001:db8:9::9]:80"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.rules.IPv4, tc.rules.IPv6 = 15001, 15001
			l := install(t, tc.rules)
			for _, to := range tc.door {
				wantSaid(t, to, "door")
			}
			for _, to := range tc.not {
				wantSaid(t, to, "server")
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A family that has no door is left alone.
func TestOneFamily(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Elsewhere(t, server(t, "203.0.113.9:80", "[2001:db8:9::9]:80"))
	greet(t, open(t, "127.0.0.1:15001"), nil)
	install(t, Rules{IPv4: 15001})
	wantSaid(t, "203.0.113.9:80", "door")
	wantSaid(t, "[2001:db8:9::9]:80", "server")
}

// Rules that do not know our own connections must not make them go round.
func TestLoopIsNoticed(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Elsewhere(t, server(t, "203.0.113.9:80", "[2001:db8:9::9]:80"))
	d := open(t, "[::]:15001")
	defer d.Close()
	own := &Own{}
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	ends := make(chan error, 256)
	go func() { // as a door that passes on at once: ends with the door
		for {
			nc, err := d.Accept()
			if err != nil {
				return
			}
			to, err := d.Destination(nc)
			if err == nil {
				err = own.Came(nc, to)
			}
			go func() { // ends with its two connections
				if err == nil {
					var up net.Conn
					if up, err = own.Dial(ctx, "tcp", to.String()); err == nil {
						_, _ = io.Copy(nc, up)
						_ = up.Close()
					}
				}
				_ = nc.Close()
				ends <- err
			}()
		}
	}()
	// Somebody else's rules.
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := conn.AddTable(&nftables.Table{Name: "foreign", Family: nftables.TableFamilyINet})
	priority := nftables.ChainPriority(-100)
	chain := conn.AddChain(&nftables.Chain{Name: "output", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: &priority})
	writer{conn, table}.add(chain, isTCP(), portsAre(Ports{80, 80}), redirectTo(15001))
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"203.0.113.9:80", "[2001:db8:9::9]:80"} {
		_, _ = say(to)
		// The client's connection ended only because the loop was broken; at which
		// of its turns is the scheduler's affair.
		for {
			if err := <-ends; errors.Is(err, ErrLoop) {
				break
			} else if err != nil {
				t.Fatalf("a loop by %s ended with %v, want ErrLoop", to, err)
			}
		}
	}
}

// TPROXY leads connections here without touching them.
func TestTPROXY(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Elsewhere(t, server(t, "203.0.113.9:80", "[2001:db8:9::9]:80"))
	d := open(t, "[::]:15001")
	if !d.TPROXY {
		t.Fatal("Door.TPROXY = false as root, want true")
	}
	came := greet(t, d, nil)
	// What local programs send comes by the loopback once it is marked and routed there.
	const marked = 1
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := conn.AddTable(&nftables.Table{Name: "foreign", Family: nftables.TableFamilyINet})
	chain := func(name string, kind nftables.ChainType, hook *nftables.ChainHook) *nftables.Chain {
		priority := nftables.ChainPriority(-150)
		return conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: kind, Hooknum: hook, Priority: &priority})
	}
	w := writer{conn, table}
	number := binaryutil.NativeEndian.PutUint32(marked)
	w.add(chain("output", nftables.ChainTypeRoute, nftables.ChainHookOutput), isTCP(), portsAre(Ports{80, 80}),
		[]expr.Any{&expr.Immediate{Register: reg, Data: number}, &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg}})
	w.add(chain("prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting), meta(expr.MetaKeyMARK, expr.CmpOpEq, number), isTCP(),
		[]expr.Any{&expr.Immediate{Register: reg, Data: binaryutil.BigEndian.PutUint16(portOf(d))},
			&expr.TProxy{Family: unix.NFPROTO_UNSPEC, TableFamily: unix.NFPROTO_INET, RegPort: reg}})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	for family, all := range map[int]string{unix.AF_INET: "0.0.0.0/0", unix.AF_INET6: "::/0"} {
		_, everything, _ := net.ParseCIDR(all)
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: 1, Dst: everything, Table: 100, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, Family: family}); err != nil {
			t.Fatalf("local route for %s: %v", all, err)
		}
		rule := netlink.NewRule()
		rule.Family, rule.Mark, rule.Table = family, marked, 100
		if err := netlink.RuleAdd(rule); err != nil {
			t.Fatalf("rule for %s: %v", all, err)
		}
	}
	wantSaid(t, "203.0.113.9:80", "door")
	wantMet(t, came, "203.0.113.9:80")
	wantSaid(t, "[2001:db8:9::9]:80", "door")
	wantMet(t, came, "[2001:db8:9::9]:80")
	_, _ = say("192.0.2.1:15001")
	if m := <-came; m.err == nil {
		t.Errorf("Destination of a direct connection = %s, want an error", m.to)
	}
}

// What a machine forwards for another is led to the door, what is meant for it
// is not.
func TestForwarded(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	there := nstest.Elsewhere(t, nil)
	came := greet(t, open(t, "[::]:15001"), nil)
	if err := server(t, "192.0.2.1:80", "[2001:db8:1::1]:80")(); err != nil {
		t.Fatal(err)
	}
	install(t, Rules{IPv4: 15001, IPv6: 15001, Forwarded: true})
	for to, want := range map[string]string{
		"198.51.100.5:443": "door", "[2001:db8:5::5]:443": "door", "192.0.2.1:80": "server", "[2001:db8:1::1]:80": "server",
	} {
		there(func() error {
			wantSaid(t, to, want)
			return nil
		})
		if want == "door" {
			wantMet(t, came, to)
		}
	}
}

// The kernel, or the next run, takes the rules away from a process that is killed.
func TestKilled(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	if os.Getenv(victimVariable) != "" {
		testVictim(t)
		return
	}
	for _, owned := range []bool{true, false} {
		t.Run(fmt.Sprintf("owned=%t", owned), func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestKilled$")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%t", victimVariable, owned))
			said, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			line, _ := bufio.NewReader(said).ReadString('\n')
			name, kernel, _ := strings.Cut(strings.TrimSpace(line), " ")
			if names := nstest.Tables(t); !slices.Equal(names, []string{name}) {
				t.Errorf("tables of the living = %v, want %s", names, name)
			}
			// Another run leaves the living alone.
			if err := install(t, Rules{IPv4: 15001}).Close(); err != nil {
				t.Error(err)
			}
			if names := nstest.Tables(t); !slices.Equal(names, []string{name}) {
				t.Errorf("tables after another run = %v, want %s", names, name)
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if kernel != "true" {
				if names := nstest.Tables(t); !slices.Equal(names, []string{name}) {
					t.Fatalf("tables of the dead = %v, want %s, which nobody owns", names, name)
				}
				if err := install(t, Rules{IPv4: 15001}).Close(); err != nil {
					t.Error(err)
				}
			}
			if names := nstest.Tables(t); len(names) > 0 {
				t.Errorf("tables in the end = %v, want none", names)
			}
		})
	}
}

const victimVariable = "UNDERSTUDY_INTERNAL_REDIRECT_VICTIM"

// testVictim installs rules and waits to be killed.
func testVictim(t *testing.T) {
	own := ownedTable
	if os.Getenv(victimVariable) == "false" {
		own = func(*mdlayher.Conn, string) error { return unix.EINVAL } // as older kernels do
	}
	l, err := Rules{IPv4: 15001, IPv6: 15001, Forwarded: true}.install(own)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(l.Table, l.Kernel)
	select {}
}

// While a lease lasts nobody else takes its rules away.
func TestOthersCannotRemove(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	l := install(t, Rules{IPv4: 15001})
	if !l.Kernel {
		t.Skip("SKIPPED: this kernel knows no owners of tables (Linux 5.12)")
	}
	other, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	other.FlushRuleset()
	if err := other.Flush(); err != nil {
		t.Errorf("another's flush of the ruleset: %v", err)
	}
	other.DelTable(&nftables.Table{Name: l.Table, Family: nftables.TableFamilyINet})
	if err := other.Flush(); !errors.Is(err, unix.EPERM) {
		t.Errorf("another's removal of the table: %v, want %v", err, unix.EPERM)
	}
	if names := nstest.Tables(t); !slices.Equal(names, []string{l.Table}) {
		t.Errorf("tables = %v, want %s still", names, l.Table)
	}
}

// What is left stays until it is removed, and can be left twice.
func TestLeave(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	for range 2 {
		if err := (Rules{IPv4: 15001, SkipUIDs: []uint32{65532}}).Leave(); err != nil {
			t.Fatal(err)
		}
		install(t, Rules{IPv4: 15001})
		if names := nstest.Tables(t); !slices.Contains(names, Kept) {
			t.Errorf("tables = %v, want %s among them", names, Kept)
		}
	}
	for range 2 {
		if err := Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if names := nstest.Tables(t); slices.Contains(names, Kept) {
		t.Errorf("tables = %v, want %s gone", names, Kept)
	}
}

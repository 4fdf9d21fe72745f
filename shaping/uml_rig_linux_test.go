package shaping

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/nstest"
	"github.com/understudy-proxy/understudy/internal/umltest"
)

// TestInUserModeLinux runs the tests named TestGuest… in a kernel that has netem.
func TestInUserModeLinux(t *testing.T) { umltest.Run(t, guestPattern()) }

// pair is two namespaces with a veth between them: near's end is us0 with 10.9.0.1,
// far's us1 with 10.9.0.2.
type pair struct {
	t         *testing.T
	near, far *os.File
}

// newPair needs root, not netem.
func newPair(t *testing.T) *pair {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	p := &pair{t, newNamespace(t), newNamespace(t)}
	h := nstest.HandleAt(t, p.near)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "us0"}, PeerName: "us1", PeerNamespace: netlink.NsFd(p.far.Fd())}
	if err := h.LinkAdd(veth); err != nil {
		t.Fatalf("add veth: %v", err)
	}
	for _, e := range []struct {
		ns         *os.File
		name, addr string
	}{{p.near, "us0", "10.9.0.1/24"}, {p.far, "us1", "10.9.0.2/24"}, {p.near, "lo", ""}, {p.far, "lo", ""}} {
		h := nstest.HandleAt(t, e.ns)
		l, err := h.LinkByName(e.name)
		if err != nil {
			t.Fatal(err)
		}
		if e.addr != "" {
			addr, err := netlink.ParseAddr(e.addr)
			if err != nil {
				t.Fatal(err)
			}
			if err := h.AddrAdd(l, addr); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
	p.send(p.dial(), 3, 64, 0) // neighbours find each other before anything is measured
	return p
}

func newNamespace(t *testing.T) *os.File {
	t.Helper()
	ns, err := nstest.Namespace(t)
	if err != nil {
		t.Skipf("cannot make a network namespace: %v", err)
	}
	return ns
}

// output runs a command in the namespace.
func (p *pair) output(ns *os.File, name string, args ...string) string {
	p.t.Helper()
	var out []byte
	var err error
	nstest.Within(p.t, ns, func() { out, err = exec.Command(name, args...).CombinedOutput() })
	if err != nil {
		p.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// conns are UDP sockets at both ends; from may be swapped with to.
type conns struct{ near, far *net.UDPConn }

func (p *pair) dial() conns {
	p.t.Helper()
	return conns{p.listen(p.near, "10.9.0.1:0"), p.listen(p.far, "10.9.0.2:0")}
}

// listen opens a socket at an address and a port, 0 for any.
func (p *pair) listen(ns *os.File, at string) (c *net.UDPConn) {
	p.t.Helper()
	var err error
	nstest.Within(p.t, ns, func() { c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at))) })
	if err != nil {
		p.t.Fatal(err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		p.t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	}); err != nil || failed != nil {
		p.t.Fatal(err, failed)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	return c
}

// arrival is a packet that came through.
type arrival struct {
	seq   int
	took  time.Duration
	since time.Duration // since the first was sent
}

// send sends packets from near to far, one each pause, and returns what arrived.
func (p *pair) send(c conns, count, size int, pause time.Duration) []arrival {
	return p.transmit(c.near, c.far, count, size, pause, nil)
}

// transmit calls midway, if there is one, after half of the packets.
func (p *pair) transmit(from, to *net.UDPConn, count, size int, pause time.Duration, midway func()) []arrival {
	p.t.Helper()
	start := time.Now().UnixNano()
	sent := make([]time.Duration, count)
	done := make(chan []arrival)
	var last atomic.Int64 // when the last was sent
	go func() {           // ends when all came, or nothing has for a while
		var got []arrival
		buf, oob := make([]byte, 2048), make([]byte, 128)
		for len(got) < 2*count {
			_ = to.SetReadDeadline(time.Now().Add(quiet))
			n, nOOB, _, _, err := to.ReadMsgUDP(buf, oob)
			if err != nil && last.Load() == 0 {
				continue
			}
			if err != nil || n < 8 {
				break
			}
			got = append(got, arrival{seq: int(binary.BigEndian.Uint64(buf)), since: stamp(oob[:nOOB]) - time.Duration(start)})
		}
		done <- got
	}()
	packet := make([]byte, size)
	for i := range count {
		if midway != nil && i == count/2 {
			midway()
		}
		binary.BigEndian.PutUint64(packet, uint64(i))
		sent[i] = time.Duration(time.Now().UnixNano() - start)
		if _, err := from.WriteTo(packet, to.LocalAddr()); err != nil {
			p.t.Fatalf("send: %v", err)
		}
		if pause > 0 {
			pauseFor(pause)
		}
	}
	last.Store(1)
	got := <-done
	for i := range got {
		got[i].took = got[i].since - sent[got[i].seq]
	}
	return got
}

// quiet is how long after the last packet none more is expected.
const quiet = 700 * time.Millisecond

// stamp is when the kernel received a packet, on the wall clock in nanoseconds: what
// a busy machine takes to wake the test is not the link's.
func stamp(oob []byte) time.Duration {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range all {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Duration(native.Uint64(m.Data)*1e9 + native.Uint64(m.Data[8:]))
		}
	}
	return 0
}

// pauseFor paces traffic in the guest, whose kernel keeps real time.
func pauseFor(d time.Duration) { <-time.After(d) }

func median(got []arrival) time.Duration {
	all := make([]time.Duration, len(got))
	for i, a := range got {
		all[i] = a.took
	}
	slices.Sort(all)
	if len(all) == 0 {
		return 0
	}
	return all[len(all)/2]
}

func (p *pair) target() Target { return Target{Namespace: p.near, Interface: "us0"} }

// apply puts conditions on near's end and takes them off when the test ends.
func (p *pair) apply(l Link) *Applied {
	p.t.Helper()
	a, err := Apply(p.t.Context(), p.target(), l)
	if err != nil {
		p.t.Fatalf("Apply(%s) = %v", l, err)
	}
	p.t.Cleanup(func() {
		if err := a.Restore(); err != nil {
			p.t.Errorf("Restore = %v", err)
		}
	})
	return a
}

// guestPattern is which of the guest's tests run: all, unless one is looked into.
func guestPattern() string {
	if p := os.Getenv("UNDERSTUDY_INTERNAL_TEST_GUEST"); p != "" {
		return p
	}
	return "^TestGuest"
}

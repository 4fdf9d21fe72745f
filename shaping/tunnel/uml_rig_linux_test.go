package tunnel_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/nstest"
	"github.com/understudy-proxy/understudy/internal/umltest"
	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/tunnel"
)

// TestInUserModeLinux runs the tests named TestGuest… in a kernel that has both engines.
func TestInUserModeLinux(t *testing.T) {
	if _, err := os.Stat("doc.go"); err != nil {
		t.Skip("the tests are run once more, as another user, who does not compile them")
	}
	pattern := "^TestGuest"
	if p := os.Getenv("UNDERSTUDY_INTERNAL_TEST_GUEST"); p != "" {
		pattern = p
	}
	umltest.Run(t, pattern)
}

// way is a link from near to far, each in a namespace of its own, under one engine. The
// tests send from near to far, so that of its conditions Up is what they feel.
type way struct {
	t         testing.TB
	engine    string
	near, far *net.UDPConn
	seed      uint64
	change    func(shaping.Conditions)
	counters  func() shaping.Counters
}

// newWays is a link of each engine: "netem", the kernel's; "tun", this package's own over
// devices; "between", the same over packet sockets.
func newWays(t testing.TB, of ...string) (all []*way) {
	t.Helper()
	for _, engine := range of {
		all = append(all, newWay(t, engine))
	}
	return all
}

func newWay(t testing.TB, engine string) *way {
	t.Helper()
	if umltest.Inside() && runtime.GOMAXPROCS(0) < 16 {
		// On one CPU a pump that wakes up would wait for whoever runs Go to let go.
		before := runtime.GOMAXPROCS(16)
		t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	}
	w := &way{t: t, engine: engine, seed: 42}
	near, far := newNamespace(t), newNamespace(t)
	if engine == "netem" {
		veth(t, near, "us0", far, "us1")
		w.byNetem(near)
	} else {
		var up, down *os.File
		if engine == "tun" {
			up, down = tap(t, near, "us0"), tap(t, far, "us1")
		} else {
			mid := newNamespace(t)
			veth(t, near, "us0", mid, "mid0")
			veth(t, far, "us1", mid, "mid1")
			up, down = packetSocket(t, mid, "mid0"), packetSocket(t, mid, "mid1")
		}
		w.byTunnel(down, up)
	}
	raise(t, near, "us0", 1)
	raise(t, far, "us1", 2)
	w.near, w.far = dial(t, near, 1), dial(t, far, 2)
	send(t, []*way{w}, load{count: 3, size: 64}) // all threads that there will be are there now
	if engine != "netem" && umltest.Inside() {
		first(t)
	}
	return w
}

func (w *way) byNetem(near *os.File) {
	a, err := shaping.Apply(w.t.Context(), shaping.Target{Namespace: near, Interface: "us0"}, shaping.Link{Up: shaping.Conditions{Limit: 100_000}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := a.Restore(); err != nil {
			w.t.Error(err)
		}
	})
	w.change = func(c shaping.Conditions) {
		w.t.Helper()
		if err := a.Change(w.t.Context(), shaping.Link{Up: c}); err != nil {
			w.t.Fatal(err)
		}
	}
	w.counters = func() shaping.Counters {
		all, err := a.Counters()
		if err != nil {
			w.t.Fatal(err)
		}
		return all[shaping.Up]
	}
}

// carry runs a link until the test ends.
func carry(t testing.TB, l *tunnel.Link) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }() // ends with ctx
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (w *way) byTunnel(down, up *os.File) {
	l, err := tunnel.Open(down, up, func(string, shaping.Direction) uint64 { return w.seed }, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	carry(w.t, l)
	w.change = func(c shaping.Conditions) {
		w.t.Helper()
		w.seed++ // another round, other decisions, as netem's
		if err := l.Change(w.t.Context(), shaping.Link{Up: c}); err != nil {
			w.t.Fatal(err)
		}
	}
	w.counters = func() shaping.Counters {
		all, err := l.Counters()
		if err != nil {
			w.t.Fatal(err)
		}
		return all[shaping.Up]
	}
}

// load is what is sent over each way: batches of packets with a pause after each. With a
// batch of 0 the ways take turns: each has its packet a part of the pause after another.
type load struct {
	count, size, batch int
	pause              time.Duration
	wait               time.Duration // after the last packet, until none more is expected; 1s
}

// arrival is a packet that came through.
type arrival struct {
	seq     int
	took    time.Duration
	at      time.Duration
	flipped int // bits that are not as they were sent
	marked  bool
}

// send sends the same load over all ways at the same time, packet by packet, so that what
// keeps the guest busy meets all alike, and returns what came through each.
func send(t testing.TB, ways []*way, l load) [][]arrival {
	t.Helper()
	if l.wait == 0 {
		l.wait = time.Second
	}
	start := time.Now().UnixNano()
	round := rounds.Add(1)
	got, done := make([][]arrival, len(ways)), make(chan int)
	var over atomic.Bool
	for k, w := range ways {
		go func() { got[k] = w.receive(start, round, l.wait, &over); done <- k }() // ends some time after over
	}
	sent := make([][]time.Duration, len(ways))
	packet := make([]byte, l.size)
	for i := range l.count {
		for at := 0; at+8 <= l.size; at += 8 { // the number over and over: damage shows
			binary.BigEndian.PutUint64(packet[at:], round<<32|uint64(i))
		}
		for k, w := range ways {
			sent[k] = append(sent[k], time.Duration(time.Now().UnixNano()-start))
			if _, err := w.near.WriteTo(packet, w.far.LocalAddr()); err != nil {
				t.Fatalf("%s: send: %v", w.engine, err)
			}
			if l.batch == 0 {
				pauseFor(l.pause / time.Duration(len(ways)))
			}
		}
		if l.batch > 0 && (i+1)%l.batch == 0 {
			pauseFor(l.pause)
		}
	}
	over.Store(true)
	for range ways {
		<-done
	}
	for k := range got {
		for i, a := range got[k] {
			if a.seq >= l.count {
				t.Fatalf("%s: a packet with the number %d", ways[k].engine, a.seq)
			}
			got[k][i].took = a.at - sent[k][a.seq]
		}
	}
	return got
}

// pauseFor paces traffic in the guest, whose kernel keeps real time.
func pauseFor(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}

// rounds numbers the loads: what comes too late for one is not taken for the next one's.
var rounds atomic.Uint64

func (w *way) receive(start int64, round uint64, wait time.Duration, over *atomic.Bool) (got []arrival) {
	buf, oob := make([]byte, 2048), make([]byte, 128)
	for {
		last := over.Load()
		_ = w.far.SetReadDeadline(time.Now().Add(wait))
		n, nOOB, _, _, err := w.far.ReadMsgUDP(buf, oob)
		if err != nil && !last {
			continue
		}
		if err != nil || n < 24 {
			return got
		}
		a := arrival{}
		one, two, three := binary.BigEndian.Uint64(buf), binary.BigEndian.Uint64(buf[8:]), binary.BigEndian.Uint64(buf[16:])
		number := one&two | one&three | two&three // each bit as two of the three have it
		if number>>32 != round {
			continue
		}
		a.seq = int(uint32(number))
		for at := 0; at+8 <= n; at += 8 {
			for x := binary.BigEndian.Uint64(buf[at:]) ^ number; x != 0; x &= x - 1 {
				a.flipped++
			}
		}
		a.at, a.marked = told(oob[:nOOB])
		a.at -= time.Duration(start)
		got = append(got, a)
	}
}

// told is when the kernel received a packet, on the wall clock, and whether its ECN bits
// say that congestion was experienced.
func told(oob []byte) (at time.Duration, marked bool) {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false
	}
	for _, m := range all {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16:
			at = time.Duration(binary.NativeEndian.Uint64(m.Data)*1e9 + binary.NativeEndian.Uint64(m.Data[8:]))
		case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_TOS && len(m.Data) > 0:
			marked = m.Data[0]&3 == 3
		}
	}
	return at, marked
}

// dial opens a socket that holds what a test may send, tells when packets came, sends
// them without a checksum, which would hide what was damaged, and as ones that support ECN.
func dial(t testing.TB, ns *os.File, n byte) (c *net.UDPConn) {
	t.Helper()
	var err error
	nstest.Within(t, ns, func() { c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: ip(n)}) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_RECVTOS, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TOS, 2))
	})
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	return c
}

func newNamespace(t testing.TB) *os.File {
	t.Helper()
	ns, err := nstest.Namespace(t)
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// veth makes a pair of ends.
func veth(t testing.TB, ns *os.File, name string, peer *os.File, peerName string) {
	t.Helper()
	err := nstest.HandleAt(t, ns).LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peerName, PeerNamespace: netlink.NsFd(peer.Fd())})
	if err != nil {
		t.Fatal(err)
	}
}

// ethernet is an end's address on Ethernet, ip the one above it.
func ethernet(n byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, n} }
func ip(n byte) net.IP                 { return net.IPv4(10, 9, 0, n) }

// raise gives an end its addresses, tells it the other's, so that nobody asks for them,
// and sets it up. Without a number it has none.
func raise(t testing.TB, ns *os.File, name string, n byte) {
	t.Helper()
	h := nstest.HandleAt(t, ns)
	l, err := h.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	index := l.Attrs().Index
	if n > 0 {
		err = errors.Join(h.LinkSetHardwareAddr(l, ethernet(n)),
			h.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: ip(n), Mask: net.CIDRMask(24, 32)}}))
	}
	if err = errors.Join(err, h.LinkSetUp(l)); err == nil && n > 0 {
		err = h.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: ip(3 - n), HardwareAddr: ethernet(3 - n)})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// tap is a device as the gateway's shim makes one.
func tap(t testing.TB, ns *os.File, name string) *os.File {
	t.Helper()
	var fd int
	var err error
	nstest.Within(t, ns, func() {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return
		}
		var request *unix.Ifreq
		if request, err = unix.NewIfreq(name); err != nil {
			return
		}
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err == nil {
			err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6|unix.TUN_F_TSO_ECN)
		}
	})
	if err != nil {
		t.Fatalf("make the device %s: %v", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// packetSocket is the outer side of an end, as the gateway's shim opens it.
func packetSocket(t testing.TB, ns *os.File, name string) *os.File {
	t.Helper()
	raise(t, ns, name, 0)
	l, err := nstest.HandleAt(t, ns).LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	nstest.Within(t, ns, func() {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return
		}
		err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, packetIgnoreOutgoing, 1),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: everything(), Ifindex: l.Attrs().Index}))
	})
	if err != nil {
		t.Fatalf("open a packet socket on %s: %v", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// packetIgnoreOutgoing is PACKET_IGNORE_OUTGOING. Source: linux/if_packet.h.
const packetIgnoreOutgoing = 23

// everything is ETH_P_ALL in the network's order.
func everything() uint16 {
	v := uint16(unix.ETH_P_ALL)
	b := (*[2]byte)(unsafe.Pointer(&v))
	b[0], b[1] = 0, unix.ETH_P_ALL
	return v
}

// first lets the threads that carry packets run before all others, as netem's timers do:
// the guest has one CPU, on which a system call takes what an ordinary one takes
// for some tens. The threads are those that asked for exact timers.
func first(t testing.TB) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, task := range all {
		slack, err := os.ReadFile("/proc/" + task.Name() + "/timerslack_ns")
		if err != nil || strings.TrimSpace(string(slack)) != "1" {
			continue
		}
		tid, _ := strconv.Atoi(task.Name())
		found++
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, -20); err != nil {
			t.Fatalf("let a thread go first: %v", err)
		}
	}
	if found < 2 {
		t.Fatalf("%d threads carry packets, want two", found)
	}
}

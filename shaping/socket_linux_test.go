package shaping

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/nstest"
	"github.com/understudy-proxy/understudy/internal/umltest"
)

// netlinkIn opens what a process that cannot enter the namespace would be handed.
func netlinkIn(t *testing.T, ns *os.File) *os.File {
	t.Helper()
	var fd int
	var err error
	nstest.Within(t, ns, func() {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	})
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "netlink")
	t.Cleanup(func() { f.Close() })
	return f
}

// Over a socket that was given the namespace is the socket's, an owner's unread answers
// do no harm, and everything that shaping says with messages can be said.
func TestSocketTarget(t *testing.T) {
	p := newPair(t)
	target := Target{Socket: netlinkIn(t, p.far), Interface: "us1", Egress: Down}
	// An answer that nobody has read, with the number of the first request to come.
	stale := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK)
	stale.Seq = 1
	stale.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC)) // of no interface: an error
	g, err := borrow(target.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.socket.Send(stale); err != nil {
		t.Fatal(err)
	}

	c, err := target.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	all, err := c.all()
	if err != nil {
		t.Fatal(err)
	}
	if names := linkNames(all); !strings.Contains(names, "us1") || strings.Contains(names, "us0") {
		t.Errorf("links = %s, want us1 and not us0", names)
	}
	if _, err := c.link("us0"); err == nil || !strings.Contains(err.Error(), "us1") {
		t.Errorf("link(us0) = %v, want one that names us1", err)
	}
	if _, err := c.named("us0"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("named(us0) = %v, want ENODEV", err)
	}
	l, err := c.link("us1")
	if err != nil {
		t.Fatal(err)
	}
	index := l.Attrs().Index
	if err := errors.Join(c.setLink(index, unix.IFLA_GSO_MAX_SEGS, 1), c.setLink(index, unix.IFLA_TXQLEN, 77)); err != nil {
		t.Fatal(err)
	}
	if l, err = c.link("us1"); err != nil || l.Attrs().GSOMaxSegs != 1 || l.Attrs().TxQLen != 77 {
		t.Errorf("link(us1) = %+v, %v; want gso_max_segs 1 and txqueuelen 77", l, err)
	}
	queue := rawQdisc{kind: "pfifo", handle: 5 << 16, parent: netlink.HANDLE_ROOT}
	if _, err := c.setQdisc(index, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, queue); err != nil {
		t.Fatal(err)
	}
	if out := p.output(p.far, "tc", "qdisc", "show", "dev", "us1"); !strings.Contains(out, "pfifo 5:") {
		t.Errorf("tc says %q, want pfifo 5:", out)
	}
	found, err := Look(target, Link{Down: Conditions{Delay: time.Millisecond}})
	if err != nil || found.Root.Kind != "pfifo" || !found.Egress {
		t.Errorf("Look = %+v, %v; want the pfifo", found, err)
	}
	if err := c.delQdisc(index, queue.handle, netlink.HANDLE_ROOT); err != nil {
		t.Error(err)
	}
}

func TestSocketTargetRefusesWhatTakesMore(t *testing.T) {
	p := newPair(t)
	target := Target{Socket: netlinkIn(t, p.near), Interface: "us0"}
	_, lookErr := Look(target, Link{Down: Conditions{Delay: time.Millisecond}})
	_, showErr := Show(target)
	_, sweepErr := Sweep(target)
	_, takeErr := Take(t.Context(), target, Link{Up: Conditions{Delay: time.Millisecond}}, Hold{})
	for name, err := range map[string]error{"Look at what arrives": lookErr, "Show": showErr, "Sweep": sweepErr, "Take": takeErr} {
		if err == nil || !strings.Contains(err.Error(), "socket alone") {
			t.Errorf("%s = %v, want a refusal", name, err)
		}
	}
	if _, err := Look(target, Link{Up: Conditions{Delay: time.Millisecond}}); err != nil {
		t.Errorf("Look over a socket that was never used = %v", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := Look(Target{Socket: null, Interface: "us0"}, Link{Up: Conditions{Delay: 1}}); !errors.Is(err, unix.ENOTSOCK) {
		t.Errorf("Look over a file = %v, want ENOTSOCK", err)
	}
}

// Both ends of a veth are shaped over sockets, changed in place, and counted. A captured
// command's own link cannot be shown in the guest, whose nftables know bridges alone.
func TestGuestSocketTarget(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	up, err := Apply(t.Context(), Target{Socket: netlinkIn(t, p.near), Interface: "us0"}, Link{Up: Conditions{Delay: 30 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	down, err := Apply(t.Context(), Target{Socket: netlinkIn(t, p.far), Interface: "us1", Egress: Down}, Link{Down: Conditions{Delay: 70 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	c := p.dial()
	within := func(what string, got []arrival, want time.Duration) {
		t.Helper()
		if m := median(got); m < want || m > want+5*time.Millisecond {
			t.Errorf("%s: median %v, want %v", what, m, want)
		}
	}
	within("up", p.transmit(c.near, c.far, 100, 64, time.Millisecond, nil), 30*time.Millisecond)
	within("down", p.transmit(c.far, c.near, 100, 64, time.Millisecond, nil), 70*time.Millisecond)
	if err := up.Change(t.Context(), Link{Up: Conditions{Delay: 10 * time.Millisecond}}); err != nil {
		t.Fatal(err)
	}
	within("up, changed", p.transmit(c.near, c.far, 100, 64, time.Millisecond, nil), 10*time.Millisecond)
	counted, err := up.Counters()
	if err != nil || counted[Up].SentPackets < 200 || counted[Up].SentBytes == 0 {
		t.Errorf("Counters = %+v, %v; want 200 packets and more", counted, err)
	}
	if err := errors.Join(up.Restore(), down.Restore()); err != nil {
		t.Error(err)
	}
	if out := p.output(p.near, "tc", "qdisc", "show", "dev", "us0"); strings.Contains(out, "netem") {
		t.Errorf("after Restore tc says %q", out)
	}
}

package shaping

import (
	"context"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The binary of the tests plays the hidden subcommand.
func TestMain(m *testing.M) {
	switch os.Getenv("SHAPING_TEST_ROLE") {
	case "probe":
		if err := ProbeMain(os.Stdout); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	case "silent":
		os.Exit(0)
	case "watch", "hold", "detach", "classes":
		if err := playLease(os.Getenv("SHAPING_TEST_ROLE"), os.Args[1:]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// inNamespace runs f on a thread with a network namespace of its own. The
// thread is never unlocked, so it ends with its goroutine, and the namespace
// with it.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	done := make(chan error)
	go func() { // ends when f has
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		defer func() { done <- err }() // also where f ends the goroutine
		if err == nil {
			f()
		}
	}()
	if err := <-done; err != nil {
		t.Skipf("cannot make a network namespace: %v", err)
	}
}

func veth(t *testing.T, name string) netlink.Link {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1400}, PeerName: name + "p"}); err != nil {
		t.Errorf("add veth: %v", err)
		runtime.Goexit()
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Error(err)
		runtime.Goexit()
	}
	return l
}

func root(l netlink.Link) netlink.QdiscAttrs {
	return netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
}

func TestInterfaces(t *testing.T) {
	inNamespace(t, func() {
		veth(t, "us0")
		links, err := Interfaces(nil)
		if err != nil {
			t.Error(err)
			return
		}
		i := slices.IndexFunc(links, func(l Interface) bool { return l.Name == "us0" })
		if i < 0 || links[i].Kind != "veth" || links[i].MTU != 1400 || links[i].Up {
			t.Errorf("links = %+v, want us0, a veth that is down", links)
		}
		if _, err := Show(Target{Interface: "us9"}); err == nil || !strings.Contains(err.Error(), "us0p") {
			t.Errorf("Show of a missing link = %v, want the links that are there", err)
		}
	})
}

func TestShowTBF(t *testing.T) {
	inNamespace(t, func() {
		l := veth(t, "us0")
		if err := netlink.QdiscAdd(&netlink.Tbf{QdiscAttrs: root(l), Rate: 1_500_000, Limit: 60_000, Buffer: 15_000}); err != nil {
			t.Errorf("add tbf: %v", err)
			return
		}
		s, err := Show(Target{Interface: "us0"})
		if err != nil || len(s.Qdiscs) != 1 {
			t.Errorf("Show = %+v, %v, want one qdisc", s, err)
			return
		}
		q := s.Qdiscs[0]
		if q.Kind != "tbf" || q.Handle != "1:0" || q.Parent != "root" || *q.TBF != (TBF{Rate: 12_000_000, Limit: 60_000}) {
			t.Errorf("qdisc = %+v, %+v, want tbf 1:0 at the root with 12mbit", q, q.TBF)
		}
	})
}

func TestShowHTB(t *testing.T) {
	inNamespace(t, func() {
		l := veth(t, "us0")
		htb := netlink.NewHtb(root(l))
		htb.Defcls = 0x10
		if err := netlink.QdiscAdd(htb); err != nil {
			t.Errorf("add htb: %v", err)
			return
		}
		class := netlink.NewHtbClass(netlink.ClassAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.MakeHandle(1, 0), Handle: netlink.MakeHandle(1, 0x10)},
			netlink.HtbClassAttrs{Rate: 8_000_000, Ceil: 40_000_000_000})
		if err := netlink.ClassAdd(class); err != nil {
			t.Errorf("add class: %v", err)
			return
		}
		s, err := Show(Target{Interface: "us0"})
		if err != nil {
			t.Error(err)
			return
		}
		if len(s.Qdiscs) != 1 || s.Qdiscs[0].HTB == nil || s.Qdiscs[0].HTB.Default != 0x10 {
			t.Errorf("qdiscs = %+v, want an htb with default 10", s.Qdiscs)
		}
		if want := (Class{"1:10", "root", 8_000_000, 40_000_000_000}); len(s.Classes) != 1 || s.Classes[0] != want {
			t.Errorf("classes = %+v, want %+v", s.Classes, want)
		}
	})
}

func TestShowNetem(t *testing.T) {
	var missing error
	inNamespace(t, func() {
		l := veth(t, "us0")
		err := netlink.QdiscAdd(netlink.NewNetem(root(l), netlink.NetemQdiscAttrs{Latency: 40_000, Jitter: 8_000, Loss: 0.5, Limit: 500, Rate64: 1_500_000}))
		if err != nil {
			missing = err
			return
		}
		s, err := Show(Target{Interface: "us0"})
		if err != nil || len(s.Qdiscs) != 1 || s.Qdiscs[0].Netem == nil {
			t.Errorf("Show = %+v, %v, want a netem", s, err)
			return
		}
		if got := s.Qdiscs[0].Netem.String(); got != "delay=40ms,jitter=8ms,loss=0.5%,rate=12mbit,limit=500" {
			t.Errorf("netem = %s", got)
		}
	})
	if missing != nil {
		t.Skipf("this kernel has no netem: %v", missing)
	}
}

func probeRole(role string) []string {
	return []string{"/usr/bin/env", "SHAPING_TEST_ROLE=" + role, os.Args[0]}
}

func TestProbe(t *testing.T) {
	if _, err := os.Stat("/usr/bin/env"); err != nil {
		t.Skip("no env command to start the role with")
	}
	before, err := Interfaces(nil)
	if err != nil {
		t.Fatal(err)
	}
	found := Probe(t.Context(), probeRole("probe")...)
	for i, c := range found {
		if c.Name != capabilities[i] || c.OK != (c.Detail == "") || c.OK && c.Remedy != "" {
			t.Errorf("capability %d = %+v, want %s with a detail if it is missing", i, c, capabilities[i])
		}
		t.Logf("%s: %v %s", c.Name, c.OK, c.Detail)
	}
	after, err := Interfaces(nil)
	if err != nil || !slices.Equal(before, after) {
		t.Errorf("links before %+v, after %+v (%v), want the same", before, after, err)
	}
	// The doctor's answer and the kernel's own must agree.
	inNamespace(t, func() {
		l := veth(t, "us0")
		err := netlink.QdiscAdd(netlink.NewNetem(root(l), netlink.NetemQdiscAttrs{Latency: 1}))
		if found[1].OK != (err == nil) {
			t.Errorf("Probe says netem is %v, the kernel says %v", found[1].OK, err)
		}
	})
}

func TestProbeWithoutAnswers(t *testing.T) {
	for name, argv := range map[string][]string{"no command": nil, "missing": {"/does/not/exist"}, "silent": probeRole("silent")} {
		found := Probe(t.Context(), argv...)
		if len(found) != len(capabilities) {
			t.Errorf("%s: %d capabilities, want %d", name, len(found), len(capabilities))
		}
		for _, c := range found {
			if c.OK || c.Detail == "" {
				t.Errorf("%s: %+v, want no, and why", name, c)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if found := Probe(ctx, probeRole("probe")...); found[0].OK {
		t.Errorf("Probe after cancel = %+v, want no", found[0])
	}
}

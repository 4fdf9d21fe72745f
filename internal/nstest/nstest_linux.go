// Package nstest runs tests in network namespaces of their own, so that they may
// set rules and routes, as root and, where the kernel lets them, as an ordinary
// user. Nothing of it outlives the test.
package nstest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// insideVariable tells a test that it runs in a namespace of its own.
const insideVariable = "UNDERSTUDY_INTERNAL_TEST_NAMESPACE"

// Inside runs the test once more in network, and where need be user, namespaces
// of its own, and reports whether this is that run.
func Inside(t testing.TB) bool {
	t.Helper()
	if os.Getenv(insideVariable) == t.Name() {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			t.Fatalf("set lo up: %v", err)
		}
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), insideVariable+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	runtime.LockOSThread() // Pdeathsig is this thread's
	defer runtime.UnlockOSThread()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Skipf("SKIPPED, namespaces cannot be made here (run as root): %v", err)
	}
	err := cmd.Wait()
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "--- SKIP") {
		t.Skip("skipped inside: see above")
	}
	return false
}

// The link to another machine: near is this namespace's end. Far also has the
// addresses by which tests mean it.
var (
	near = []string{"192.0.2.1/24", "2001:db8:1::1/64"}
	far  = []string{"192.0.2.2/24", "2001:db8:1::2/64", "203.0.113.9/32", "2001:db8:9::9/128"}
)

// Elsewhere makes a second namespace behind a link and runs listen there, if
// it is not nil; the sockets that it opens stay there. All that is not near is
// there, and the other way about. The function that it returns runs others there.
func Elsewhere(t testing.TB, listen func() error) (there func(func() error)) {
	t.Helper()
	here := namespace(t)
	var beyond *os.File
	alone(t, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		beyond = namespace(t)
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "far"}, PeerName: "near", PeerNamespace: netlink.NsFd(int(here.Fd()))}
		if err := netlink.LinkAdd(pair); err != nil {
			return fmt.Errorf("veth: %w", err)
		}
		if err := bring("lo"); err != nil {
			return err
		}
		if err := bring("far", far...); err != nil {
			return err
		}
		if listen == nil {
			return nil
		}
		return listen()
	})
	there = func(do func() error) {
		t.Helper()
		alone(t, func() error {
			if err := unix.Setns(int(beyond.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("setns: %w", err)
			}
			return do()
		})
	}
	if err := bring("near", near...); err != nil {
		t.Fatal(err)
	}
	if err := leads("near", "192.0.2.2", "2001:db8:1::2"); err != nil {
		t.Fatal(err)
	}
	there(func() error { return leads("far", "192.0.2.1", "2001:db8:1::1") })
	return there
}

// namespace is the current thread's network namespace.
func namespace(t testing.TB) *os.File {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// alone runs do on a thread that nobody else gets.
func alone(t testing.TB, do func() error) {
	t.Helper()
	done := make(chan error)
	go func() { // ends at once, and its thread with it
		runtime.LockOSThread()
		done <- do()
	}()
	if err := <-done; err != nil {
		t.Fatalf("in another namespace: %v", err)
	}
}

// leads makes routes to everywhere.
func leads(name string, by ...string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, gw := range by {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gw)}); err != nil {
			return fmt.Errorf("default route by %s: %w", gw, err)
		}
	}
	return nil
}

func bring(name string, addrs ...string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("%s on %s: %w", a, name, err)
		}
	}
	return netlink.LinkSetUp(link)
}

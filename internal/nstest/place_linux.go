package nstest

import (
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace makes a network namespace in which nobody lives, for as long as the test. Its
// links do not speak IPv6, unless they are told to: what that sends unasked would be
// counted among the test's packets. The error says that this process may not make one.
func Namespace(t testing.TB) (ns *os.File, err error) {
	t.Helper()
	alone(t, func() error {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			ns = namespace(t)
			_ = os.WriteFile(ipv6Off("default"), []byte("1"), 0) // a kernel without IPv6 has no such file
		}
		return nil
	})
	return ns, err
}

// SpeakIPv6 has a link of a Namespace do so.
func SpeakIPv6(t testing.TB, ns *os.File, link string) {
	t.Helper()
	var err error
	Within(t, ns, func() { err = os.WriteFile(ipv6Off(link), []byte("0"), 0) })
	if err != nil {
		t.Fatal(err)
	}
}

func ipv6Off(link string) string { return "/proc/sys/net/ipv6/conf/" + link + "/disable_ipv6" }

// Within runs do on a thread that is in the namespace.
func Within(t testing.TB, ns *os.File, do func()) {
	t.Helper()
	alone(t, func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		do()
		return nil
	})
}

// HandleAt is netlink's in the namespace, for as long as the test.
func HandleAt(t testing.TB, ns *os.File) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

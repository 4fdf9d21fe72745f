package dns

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestNamesGoThereAndBack(t *testing.T) {
	var n Names
	for i := range 1000 {
		name := fmt.Sprintf("host%d.test", i)
		addr, ok := n.Address(name)
		if back, known := n.Name(addr); !ok || !known || back != name {
			t.Fatalf("Name(%s) = %q %v, want %q", addr, back, known, name)
		}
		if again, _ := n.Address(name + "."); again != addr {
			t.Fatalf("Address(%s.) = %s, want %s", name, again, addr)
		}
		if mapped, _ := n.Name(netip.AddrFrom16(addr.As16())); mapped != name {
			t.Fatalf("the mapped address is %q, want %q", mapped, name)
		}
	}
	for _, strange := range []string{"198.18.0.0", "198.18.255.255", "127.0.0.1", "::1", "0.0.0.0", "255.255.255.255"} {
		if name, ok := n.Name(netip.MustParseAddr(strange)); ok {
			t.Errorf("Name(%s) = %q", strange, name)
		}
	}
	if name, ok := n.Name(netip.Addr{}); ok {
		t.Errorf("no address has the name %q", name)
	}
}

// The addresses end before the link's own, and then there are no more.
func TestNamesEnd(t *testing.T) {
	var n Names
	var addr netip.Addr
	for i := range capacity {
		var ok bool
		if addr, ok = n.Address(fmt.Sprint("n", i)); !ok {
			t.Fatalf("no address for name %d of %d", i, capacity)
		}
	}
	if want := netip.MustParseAddr("198.19.254.255"); addr != want {
		t.Errorf("the last address is %s, want %s", addr, want)
	}
	if addr, ok := n.Address("one more"); ok {
		t.Errorf("one more got %s", addr)
	}
}

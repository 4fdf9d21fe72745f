package redirect

import (
	"errors"
	"net/netip"
	"testing"
)

func TestDestination(t *testing.T) {
	none := ""
	for _, tc := range []struct {
		name, original, local, door, want string // want "" for direct
	}{
		{"REDIRECT", "203.0.113.9:80", "127.0.0.1:15001", "127.0.0.1:15001", "203.0.113.9:80"},
		{"REDIRECT at a door for both families", "203.0.113.9:80", "127.0.0.1:15001", "[::]:15001", "203.0.113.9:80"},
		{"REDIRECT, mapped", "203.0.113.9:80", "[::ffff:127.0.0.1]:15001", "[::]:15001", "203.0.113.9:80"},
		{"REDIRECT of IPv6", "[2001:db8::9]:443", "[::1]:15001", "[::1]:15001", "[2001:db8::9]:443"},
		{"REDIRECT of the loopback", "127.0.0.1:6379", "127.0.0.1:15001", "127.0.0.1:15001", "127.0.0.1:6379"},
		{"another machine's port of the same number", "203.0.113.9:15001", "127.0.0.1:15001", "[::]:15001", "203.0.113.9:15001"},
		{"TPROXY without tracking", none, "203.0.113.9:80", "[::]:15001", "203.0.113.9:80"},
		{"TPROXY with tracking", "203.0.113.9:80", "203.0.113.9:80", "[::]:15001", "203.0.113.9:80"},
		{"TPROXY, same port", none, "203.0.113.9:15001", "0.0.0.0:15001", "203.0.113.9:15001"},
		{"direct", "127.0.0.1:15001", "127.0.0.1:15001", "127.0.0.1:15001", ""},
		{"direct without tracking", none, "127.0.0.1:15001", "127.0.0.1:15001", ""},
		{"direct, mapped", "127.0.0.1:15001", "[::ffff:127.0.0.1]:15001", "[::]:15001", ""},
		{"direct, all addresses", none, "127.0.0.2:15001", "[::]:15001", ""},
		{"direct, own address", none, "192.0.2.7:15001", "[::]:15001", ""},
		{"direct, own IPv6 with a zone", none, "[fe80::7%2]:15001", "[::]:15001", ""},
		{"redirected to the door's own address", "192.0.2.7:15001", "127.0.0.1:15001", "0.0.0.0:15001", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var original netip.AddrPort
			if tc.original != none {
				original = netip.MustParseAddrPort(tc.original)
			}
			got, err := destination(original, netip.MustParseAddrPort(tc.local), netip.MustParseAddrPort(tc.door), func() ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("fe80::7")}, nil
			})
			if tc.want == "" {
				if _, direct := errors.AsType[*DirectError](err); !direct {
					t.Errorf("destination(%s, %s, %s) = %s, %v, want a DirectError", tc.original, tc.local, tc.door, got, err)
				}
				return
			}
			if err != nil || got.String() != tc.want {
				t.Errorf("destination(%s, %s, %s) = %s, %v, want %s", tc.original, tc.local, tc.door, got, err, tc.want)
			}
		})
	}
}

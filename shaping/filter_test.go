package shaping

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// packetWith is an IP packet between a link's user and a peer, in a direction.
func packetWith(at Direction, peer netip.AddrPort, protocol byte) []byte {
	user := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.99"), 65000)
	if peer.Addr().Is6() {
		user = netip.AddrPortFrom(netip.MustParseAddr("2001:db8:ffff::99"), 65000)
	}
	from, to := user, peer
	if at == Down {
		from, to = peer, user
	}
	var p []byte
	if peer.Addr().Is4() {
		p = append(p, 0x45, 0, 0, 40, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0)
	} else {
		p = append(p, 0x60, 0, 0, 0, 0, 20, protocol, 64)
	}
	p = append(append(p, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	if protocol == protocolTCP || protocol == protocolUDP {
		p = binary.BigEndian.AppendUint16(p, from.Port())
		p = binary.BigEndian.AppendUint16(p, to.Port())
	} else {
		p = append(p, 8, 0, 0, 0)
	}
	return append(p, make([]byte, 16)...)
}

// picks is what the kernel's u32 does.
func (f filter) picks(p []byte) bool {
	if (p[0]>>4 == 6) != f.ipv6 {
		return false
	}
	for _, k := range f.keys {
		if int(k.offset)+4 > len(p) || binary.BigEndian.Uint32(p[k.offset:])&k.mask != k.value {
			return false
		}
	}
	return true
}

func picked(d Destination, at Direction, p []byte) bool {
	return slices.ContainsFunc(d.filters(at), func(f filter) bool { return f.picks(p) })
}

// checkLaw: a packet is picked where, and only where, its peer is meant.
func checkLaw(t *testing.T, d Destination, at Direction, peer netip.AddrPort, protocol byte) {
	t.Helper()
	port := peer.Port()
	if protocol != protocolTCP && protocol != protocolUDP {
		port = 0
	}
	if got, want := picked(d, at, packetWith(at, peer, protocol)), d.Matches(peer.Addr(), port, ""); got != want {
		t.Errorf("%v %s: a packet of protocol %d with %v is picked: %v, want %v", d, at, protocol, peer, got, want)
	}
}

func TestFiltersPickWhatIsMeant(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	addr := func() netip.Addr {
		if random.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{10, byte(random.IntN(4)), byte(random.IntN(256)), byte(random.IntN(256))})
		}
		a := netip.MustParseAddr("2001:db8::").As16()
		for i := 4; i < 16; i++ {
			a[i] = byte(random.Uint32() & random.Uint32())
		}
		return netip.AddrFrom16(a)
	}
	meant := 0
	for range 4000 {
		var d Destination
		peer := netip.AddrPortFrom(addr(), uint16(1+random.IntN(65535)))
		if random.IntN(4) > 0 {
			near := peer.Addr()
			if random.IntN(4) == 0 {
				near = addr()
			}
			d.network = netip.PrefixFrom(near, random.IntN(near.BitLen()+1)).Masked()
		}
		if random.IntN(3) > 0 {
			a, b := uint16(1+random.IntN(65535)), uint16(1+random.IntN(65535))
			d.first, d.last = min(a, b), max(a, b)
			switch random.IntN(6) {
			case 0:
				d.first, d.last = peer.Port(), peer.Port()
			case 1:
				d.first = peer.Port()
				d.last = max(d.first, d.last)
			case 2:
				d.last = peer.Port()
				d.first = min(d.first, d.last)
			}
		}
		for _, at := range []Direction{Down, Up} {
			for _, protocol := range []byte{protocolTCP, protocolUDP, 1, 58} {
				checkLaw(t, d, at, peer, protocol)
			}
		}
		if d.Matches(peer.Addr(), peer.Port(), "") {
			meant++
		}
	}
	if meant < 1000 || meant > 3000 {
		t.Errorf("%d of 4000 peers were meant, want some of both", meant)
	}
}

func FuzzFilters(f *testing.F) {
	f.Add("10.0.0.0/8:443", []byte{10, 1, 2, 3}, uint16(443), byte(6), true)
	f.Add("[2001:db8::/33]:8000-8999", netip.MustParseAddr("2001:db8::1").AsSlice(), uint16(8999), byte(17), false)
	f.Add(":1-65535", []byte{192, 0, 2, 1}, uint16(1), byte(1), true)
	f.Add("*", []byte{192, 0, 2, 1}, uint16(1), byte(6), true)
	f.Fuzz(func(t *testing.T, text string, raw []byte, port uint16, protocol byte, up bool) {
		d, err := ParseDestination(text)
		addr, ok := netip.AddrFromSlice(raw)
		if err != nil || d.Named() || !ok || addr.Is4In6() {
			return
		}
		at := Down
		if up {
			at = Up
		}
		checkLaw(t, d, at, netip.AddrPortFrom(addr, port), protocol)
	})
}

func TestPortBlocks(t *testing.T) {
	for _, tt := range []struct {
		first, last uint16
		want        int
	}{{1, 65535, 16}, {5432, 5432, 1}, {8000, 8999, 6}, {1, 65534, 30}, {65535, 65535, 1}, {32768, 65535, 1}} {
		blocks := portBlocks(tt.first, tt.last)
		if len(blocks) != tt.want {
			t.Errorf("portBlocks(%d, %d) are %d, want %d: %v", tt.first, tt.last, len(blocks), tt.want, blocks)
		}
		for p := range 1 << 16 {
			n := 0
			for _, b := range blocks {
				if uint16(p)&b.mask == b.value {
					n++
				}
			}
			want := 0
			if p >= int(tt.first) && p <= int(tt.last) {
				want = 1
			}
			if n != want {
				t.Fatalf("portBlocks(%d, %d) has %d %d times, want %d", tt.first, tt.last, p, n, want)
			}
		}
	}
}

// Where ports are not where u32 looks, a filter that asks for them picks nothing: what
// lies there in their place may look like them.
func TestFiltersLookForPortsWhereTheyAre(t *testing.T) {
	d := Destination{first: 53, last: 53}
	peer := netip.MustParseAddrPort("192.0.2.1:53")
	whole := packetWith(Up, peer, protocolUDP)
	later := slices.Clone(whole)
	later[7] = 1 // a fragment's offset
	first := slices.Clone(whole)
	first[6] = 0x20 // the first of several
	options := slices.Clone(whole)
	options[0] = 0x46
	for name, tt := range map[string]struct {
		p    []byte
		want bool
	}{"whole": {whole, true}, "first fragment": {first, true}, "later fragment": {later, false}, "options": {options, false}} {
		if got := picked(d, Up, tt.p); got != tt.want {
			t.Errorf("%s: picked: %v, want %v", name, got, tt.want)
		}
	}
}

package tunnel

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

// packetOf is a frame of so much payload between two ends; next says what stands before
// the transport, of IPv6.
func packetOf(proto byte, from, to string, flags byte, extensions ...byte) []byte {
	a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	data := make([]byte, packetAt)
	var header []byte
	if a.Addr().Is4() {
		binary.BigEndian.PutUint16(data[virtioHeader+12:], etherIPv4)
		header = make([]byte, 20)
		header[0], header[9] = 0x45, proto
		copy(header[12:], a.Addr().AsSlice())
		copy(header[16:], b.Addr().AsSlice())
	} else {
		binary.BigEndian.PutUint16(data[virtioHeader+12:], etherIPv6)
		header = make([]byte, ipv6Size)
		header[0], header[6] = 0x60, proto
		copy(header[8:], a.Addr().AsSlice())
		copy(header[24:], b.Addr().AsSlice())
		for i, kind := range extensions {
			if i == 0 {
				header[6] = kind
			} else {
				header[len(header)-8] = kind
			}
			header = append(header, proto, 0, 0, 0, 0, 0, 0, 0)
		}
	}
	transport := make([]byte, 20)
	binary.BigEndian.PutUint16(transport, a.Port())
	binary.BigEndian.PutUint16(transport[2:], b.Port())
	transport[12], transport[13] = 5<<4, flags
	return append(append(data, header...), transport...)
}

func TestFlowOfAFrame(t *testing.T) {
	const user4, peer4, user6, peer6 = "198.19.255.2:40000", "192.0.2.1:80", "[fd00::2]:40000", "[2001:db8::1]:80"
	key := func(peer string, user uint16, proto uint8) flow {
		p := netip.MustParseAddrPort(peer)
		return flow{p.Addr().As16(), p.Port(), user, proto}
	}
	fragmented := packetOf(protoTCP, user4, peer4, 0)
	fragmented[packetAt+7] = 1
	arp := packetOf(protoTCP, user4, peer4, 0)
	binary.BigEndian.PutUint16(arp[virtioHeader+12:], 0x0806)
	for name, tt := range map[string]struct {
		data     []byte
		fromUser bool
		want     flow
		begins   bool
		ok       bool
	}{
		"up":            {packetOf(protoTCP, user4, peer4, 0x10), true, key(peer4, 40000, protoTCP), false, true},
		"down":          {packetOf(protoTCP, peer4, user4, 0x10), false, key(peer4, 40000, protoTCP), false, true},
		"SYN":           {packetOf(protoTCP, user4, peer4, 0x02), true, key(peer4, 40000, protoTCP), true, true},
		"SYN and ACK":   {packetOf(protoTCP, peer4, user4, 0x12), false, key(peer4, 40000, protoTCP), true, true},
		"UDP":           {packetOf(protoUDP, user4, peer4, 0x02), true, key(peer4, 40000, protoUDP), false, true},
		"ICMP":          {packetOf(protoICMP, user4, peer4, 0x02), true, key("192.0.2.1:0", 0, protoICMP), false, true},
		"a fragment":    {fragmented, true, key("192.0.2.1:0", 0, protoTCP), false, true},
		"IPv6 up":       {packetOf(protoTCP, user6, peer6, 0x02), true, key(peer6, 40000, protoTCP), true, true},
		"IPv6 down":     {packetOf(protoTCP, peer6, user6, 0x10), false, key(peer6, 40000, protoTCP), false, true},
		"IPv6 options":  {packetOf(protoTCP, user6, peer6, 0x02, hopByHop, destinations), true, key(peer6, 40000, protoTCP), true, true},
		"IPv6 fragment": {packetOf(protoTCP, user6, peer6, 0x02, fragment), true, key(peer6, 40000, protoTCP), true, true},
		"ARP":           {arp, true, flow{}, false, false},
		"short":         {packetOf(protoTCP, user4, peer4, 0)[:packetAt+19], true, flow{}, false, false},
		"no frame":      {nil, true, flow{}, false, false},
	} {
		got, begins, ok := parsed(tt.data).flow(tt.fromUser)
		if got != tt.want || begins != tt.begins || ok != tt.ok {
			t.Errorf("%s: flow = %v, %v, %v, want %v, %v, %v", name, got, begins, ok, tt.want, tt.begins, tt.ok)
		}
	}
	if f := (Flow{netip.MustParseAddrPort(user4), netip.MustParseAddrPort("[::ffff:192.0.2.1]:80")}); f.key() != key(peer4, 40000, protoTCP) || f.key().addr() != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("the key of %v is %v", f, f.key())
	}
}

// What goes there and what comes back are of one flow.
func FuzzFlow(f *testing.F) {
	f.Add(packetOf(protoTCP, "198.19.255.2:40000", "192.0.2.1:80", 2))
	f.Add(packetOf(protoTCP, "[fd00::2]:40000", "[2001:db8::1]:80", 2, hopByHop, fragment))
	f.Add(superPacket(false, 3000, 1448))
	f.Fuzz(func(t *testing.T, data []byte) {
		there, _, ok := parsed(data).flow(true)
		if !ok || data[packetAt]>>4 != 4 && there == (flow{}) {
			return
		}
		back := append([]byte(nil), data...)
		a, n := packetAt+12, 4
		if binary.BigEndian.Uint16(data[virtioHeader+12:]) == etherIPv6 {
			a, n = packetAt+8, 16
		}
		copy(back[a:], data[a+n:a+2*n])
		copy(back[a+n:], data[a:a+n])
		if there.peerPort > 0 || there.userPort > 0 {
			at := packetAt + int(data[packetAt]&15)*4
			if n == 16 {
				_, length, _ := transport6(data[packetAt:])
				at = packetAt + length
			}
			if at < a+2*n {
				return // ports within the addresses
			}
			copy(back[at:], data[at+2:at+4])
			copy(back[at+2:], data[at:at+2])
		}
		if got, _, ok := parsed(back).flow(false); !ok || got != there {
			t.Errorf("flow = %v there, %v back (%v)", there, got, ok)
		}
	})
}

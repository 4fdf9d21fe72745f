package shaping

import (
	"fmt"
	"net/netip"
	"strings"
)

// filter picks packets by words of 32 bits in them, as the kernel's u32 does: all of
// its keys must match. One without keys picks every packet of its family.
type filter struct {
	ipv6 bool
	keys []filterKey
}

// filterKey matches where the packet's word at offset, in bytes from the IP header's
// first and in the network's order, has value under mask.
type filterKey struct {
	offset      uint32
	mask, value uint32
}

// Words of IP headers. Source: RFC 791, section 3.1; RFC 8200, section 3; the ports of
// TCP and UDP are the first word of both.
const (
	ipv4Head, ipv4Fragment, ipv4Protocol = 0, 4, 8
	ipv4Source, ipv4Target, ipv4Ports    = 12, 16, 20

	ipv6Next                          = 4
	ipv6Source, ipv6Target, ipv6Ports = 8, 24, 40

	protocolTCP, protocolUDP = 6, 17
)

// filters are what picks the packets between a link's user and d, which may not be a
// name, in one direction: d is whom the user's packets go to, and whom those that come to
// him are from. Ports are those of TCP and UDP. An IPv4 packet with options, a fragment
// that is not the first, and an IPv6 packet with an extension header have their ports
// where u32 does not look, and are picked by none that asks for ports.
func (d Destination) filters(at Direction) []filter {
	var all []filter
	for _, ipv6 := range []bool{false, true} {
		if d.network.IsValid() && d.network.Addr().Is6() != ipv6 {
			continue
		}
		base := filter{ipv6: ipv6, keys: networkKeys(d.network, ipv6, at)}
		if d.first == 0 {
			all = append(all, base)
			continue
		}
		for _, protocol := range []uint32{protocolTCP, protocolUDP} {
			for _, block := range portBlocks(d.first, d.last) {
				keys := append(base.keys[:len(base.keys):len(base.keys)], protocolKeys(ipv6, protocol)...)
				all = append(all, filter{ipv6, append(keys, block.key(ipv6, at))})
			}
		}
	}
	return all
}

// networkKeys match the peer's address; none for any.
func networkKeys(n netip.Prefix, ipv6 bool, at Direction) (keys []filterKey) {
	if !n.IsValid() {
		return nil
	}
	offset := map[bool]map[Direction]uint32{
		false: {Up: ipv4Target, Down: ipv4Source},
		true:  {Up: ipv6Target, Down: ipv6Source},
	}[ipv6][at]
	addr := n.Addr().AsSlice()
	for i := 0; i < len(addr) && n.Bits() > 8*i; i += 4 {
		mask := ^uint32(0) << max(32-(n.Bits()-8*i), 0)
		value := uint32(addr[i])<<24 | uint32(addr[i+1])<<16 | uint32(addr[i+2])<<8 | uint32(addr[i+3])
		keys = append(keys, filterKey{offset + uint32(i), mask, value & mask})
	}
	return keys
}

// protocolKeys match a protocol whose header is where ports are looked for.
func protocolKeys(ipv6 bool, protocol uint32) []filterKey {
	if ipv6 {
		return []filterKey{{ipv6Next, 0xff00, protocol << 8}}
	}
	return []filterKey{
		{ipv4Protocol, 0xff0000, protocol << 16},
		{ipv4Head, 0x0f000000, 5 << 24}, // a header of five words: no options
		{ipv4Fragment, 0x1fff, 0},       // the first fragment, or all
	}
}

// portBlock is ports that are alike under a mask.
type portBlock struct{ mask, value uint16 }

// portBlocks are the fewest that make up a range, both ends inclusive: at most 30.
func portBlocks(first, last uint16) (blocks []portBlock) {
	for at, end := uint32(first), uint32(last); at <= end; {
		size := uint32(1)
		for at%(2*size) == 0 && at+2*size-1 <= end {
			size *= 2
		}
		blocks = append(blocks, portBlock{^uint16(size - 1), uint16(at)})
		at += size
	}
	return blocks
}

// key matches the peer's port.
func (b portBlock) key(ipv6 bool, at Direction) filterKey {
	k := filterKey{offset: ipv4Ports, mask: uint32(b.mask), value: uint32(b.value)}
	if ipv6 {
		k.offset = ipv6Ports
	}
	if at == Down { // the source's port comes first
		k.mask, k.value = k.mask<<16, k.value<<16
	}
	return k
}

// String is f in tc's words.
func (f filter) String() string {
	var b strings.Builder
	b.WriteString("ip")
	if f.ipv6 {
		b.WriteString("v6")
	}
	for _, k := range f.keys {
		fmt.Fprintf(&b, " match %08x/%08x at %d", k.value, k.mask, k.offset)
	}
	return b.String()
}

//go:build linux

package nat

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Legacy are the same rules, without asking, for kernels that have iptables but no
// nftables of a family: a whole mangle table each, as a socket option replaces that of a
// new namespace. IPv4 is for SOL_IP, IPv6 for SOL_IPV6.
type Legacy struct{ IPv4, IPv6 []byte }

// What a table's sender has to know of it. At LegacyPointer, of 64 bits, belongs where the
// kernel may write the counters of the rules before, of 16 bytes each: those of the table
// that a namespace begins with, a policy for each hook and an end.
// Source: struct ipt_replace in linux/netfilter_ipv4/ip_tables.h.
const (
	LegacyReplace  = 64 // IPT_SO_SET_REPLACE, and IP6T_SO_SET_REPLACE
	LegacyPointer  = 32 + 4 + 4 + 4 + 5*4 + 5*4 + 4
	legacyCounters = hooks + 1
)

// LegacyOutside and LegacyInside are the tables of the gateway's namespace and of the
// command's.
func LegacyOutside() Legacy {
	return legacy(func(t *table) {
		t.rule(protocolTCP, []match{t.port(unix.IPPROTO_TCP, 53)}, t.accept())
		t.rule(protocolTCP, nil, t.tproxy(PortTCP))
	})
}

// LegacyInside is encodeInside's: see there.
func LegacyInside() Legacy {
	return legacy(func(t *table) {
		t.rule(rule{notLoopback: true}, nil, t.accept())
		t.rule(rule{}, []match{t.mark(MarkOwn)}, t.accept())
		dns := rule{protocol: unix.IPPROTO_UDP, toLoopback: true}
		t.rule(dns, []match{t.port(unix.IPPROTO_UDP, 53), t.ownSocket()}, t.accept())
		t.rule(dns, []match{t.port(unix.IPPROTO_UDP, 53)}, t.tproxy(PortLocalDNS))
		t.rule(rule{protocol: unix.IPPROTO_TCP, not: true}, nil, t.accept())
		t.rule(protocolTCP, []match{t.notSYN()}, t.accept())
		t.rule(protocolTCP, []match{t.ownSocket()}, t.accept())
		local := rule{protocol: unix.IPPROTO_TCP, toLoopback: true}
		t.rule(local, []match{t.port(unix.IPPROTO_TCP, 53)}, t.tproxy(PortLocalDNS))
		t.rule(local, nil, t.tproxy(PortLocal))
	})
}

// rule is what an entry itself compares.
type rule struct {
	protocol    byte // 0 for any
	not         bool // any but this one
	notLoopback bool // came by another interface than lo
	toLoopback  bool // the address is the loopback's
}

var protocolTCP = rule{protocol: unix.IPPROTO_TCP}

// table is a table of one family while it is written.
type table struct {
	ipv6    bool
	entries []byte
	n       uint32
}

// match and target are parts of an entry.
type match []byte

// The hooks of a mangle table, of which rules are for the first.
const hooks = 5

func legacy(rules func(*table)) Legacy {
	var both [2][]byte
	for i := range both {
		t := &table{ipv6: i == 1}
		rules(t)
		both[i] = t.replace()
	}
	return Legacy{both[0], both[1]}
}

// replace is the whole as the kernel takes it: struct ipt_replace, or ip6t_replace.
func (t *table) replace() []byte {
	var entry, underflow [hooks]uint32
	for h := range hooks {
		if h > 0 {
			entry[h] = uint32(len(t.entries))
		}
		underflow[h] = uint32(len(t.entries))
		t.rule(rule{}, nil, t.accept()) // the policy
	}
	t.rule(rule{}, nil, part("ERROR", 0, append([]byte("ERROR"), make([]byte, 27)...)))
	out := append([]byte("mangle"), make([]byte, 26)...)
	e := binary.NativeEndian
	out = e.AppendUint32(out, 1<<hooks-1)
	out = e.AppendUint32(out, t.n)
	out = e.AppendUint32(out, uint32(len(t.entries)))
	for _, list := range [][hooks]uint32{entry, underflow} {
		for _, at := range list {
			out = e.AppendUint32(out, at)
		}
	}
	out = e.AppendUint32(out, legacyCounters)
	out = append(out, make([]byte, 8)...)
	return append(out, t.entries...)
}

// rule adds an entry: struct ipt_entry, or ip6t_entry, its matches, its target.
func (t *table) rule(r rule, matches []match, target []byte) {
	size, address := 84, 4
	if t.ipv6 {
		size, address = 136, 16
	}
	b := make([]byte, size)
	if r.toLoopback && t.ipv6 {
		b[address+15] = 1
		for i := range address {
			b[3*address+i] = 0xff
		}
	} else if r.toLoopback {
		b[address], b[3*address] = 127, 0xff
	}
	names := 4 * address
	const interfaceName = 16
	if r.notLoopback {
		copy(b[names:], "lo")
		copy(b[names+2*interfaceName:], []byte{0xff, 0xff, 0xff})
	}
	at := names + 4*interfaceName
	binary.NativeEndian.PutUint16(b[at:], uint16(r.protocol))
	flags := at + 2
	if t.ipv6 {
		flags++ // after tos
		if r.protocol != 0 {
			b[flags] = 1 // IP6T_F_PROTO
		}
	}
	const invertInterface, invertProtocol = 0x01, 0x40
	if r.notLoopback {
		b[flags+1] |= invertInterface
	}
	if r.not {
		b[flags+1] |= invertProtocol
	}
	e := binary.NativeEndian
	b = append(b, 0, 0, 0, 0) // nfcache
	head := len(b) + 2 + 2 + 4 + 16
	head = (head + 7) &^ 7
	targetAt := head
	for _, m := range matches {
		targetAt += len(m)
	}
	b = e.AppendUint16(b, uint16(targetAt))
	b = e.AppendUint16(b, uint16(targetAt+len(target)))
	b = append(b, make([]byte, head-len(b))...) // comefrom, counters
	for _, m := range matches {
		b = append(b, m...)
	}
	t.entries = append(append(t.entries, b...), target...)
	t.n++
}

// part is struct xt_entry_match, or xt_entry_target, with what belongs to it.
func part(name string, revision byte, data []byte) []byte {
	size := (32 + len(data) + 7) &^ 7
	out := binary.NativeEndian.AppendUint16(nil, uint16(size))
	out = append(out, name...)
	out = append(out, make([]byte, 31-len(out))...)
	out = append(append(out, revision), data...)
	return append(out, make([]byte, size-len(out))...)
}

// accept is the standard target, which has no name: -NF_ACCEPT - 1.
func (t *table) accept() []byte {
	verdict := int32(-2)
	return part("", 0, binary.NativeEndian.AppendUint32(nil, uint32(verdict)))
}

// tproxy gives to the transparent socket on a port: struct xt_tproxy_target_info_v1.
func (t *table) tproxy(port uint16) []byte {
	data := make([]byte, 4+4+16) // the mark stays; the address is the interface's own
	data = binary.BigEndian.AppendUint16(data, port)
	return part("TPROXY", 1, append(data, 0, 0))
}

// port matches a destination's: struct xt_tcp, or xt_udp.
func (t *table) port(protocol byte, port uint16) match {
	e := binary.NativeEndian
	data := e.AppendUint16(e.AppendUint16(nil, 0), 0xffff)
	data = e.AppendUint16(e.AppendUint16(data, port), port)
	if protocol == unix.IPPROTO_UDP {
		return part("udp", 0, append(data, 0, 0))
	}
	return part("tcp", 0, append(data, 0, 0, 0, 0))
}

// notSYN matches all packets of a connection but its first.
func (t *table) notSYN() match {
	const invertFlags = 0x04 // XT_TCP_INV_FLAGS
	e := binary.NativeEndian
	data := e.AppendUint16(e.AppendUint16(nil, 0), 0xffff)
	data = e.AppendUint16(e.AppendUint16(data, 0), 0xffff)
	return part("tcp", 0, append(data, 0, tcpSYN|tcpACK, tcpSYN, invertFlags))
}

// mark is struct xt_mark_mtinfo1.
func (t *table) mark(value uint32) match {
	e := binary.NativeEndian
	data := e.AppendUint32(e.AppendUint32(nil, value), 0xffffffff)
	return part("mark", 1, append(data, 0, 0, 0, 0))
}

// ownSocket matches where there is a socket, one for all addresses too. One that is
// transparent is ours: what comes to its own port needs no rule to reach it.
func (t *table) ownSocket() match {
	const noWildcard = 0x02 // XT_SOCKET_NOWILDCARD: do not ignore those
	return part("socket", 2, []byte{noWildcard})
}

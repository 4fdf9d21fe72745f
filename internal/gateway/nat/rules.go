//go:build linux

package nat

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// The registers of a rule. Rules here need one value, or a port.
const reg = 1

// loopbackIndex is what "lo" has in every network namespace.
const loopbackIndex = 1

// tcpSYN, tcpACK are flags in the TCP header's 14th byte.
const tcpSYN, tcpACK = 0x02, 0x10

// Asking is how a kernel holds a connection until it is decided about.
type Asking int

// The ways: not at all, by nftables' own expression, by the same of iptables
// through nftables' compatibility layer (kernels without the first often have it).
const (
	AskNot Asking = iota
	AskNative
	AskCompat
)

// Ruleset is what a namespace shall have.
type Ruleset struct {
	IPv6 bool
	Ask  Asking
}

// encodeOutside leads all TCP that arrives from a link to PortTCP, whatever its
// address and port, except to port 53: there the address alone was changed
// (by a local route) and a plain listener answers.
func (r Ruleset) encodeOutside() (Batch, error) {
	b := r.begin()
	if r.Ask != AskNot {
		ask := b.chain("ask", -160)
		b.add(ask, isTCP(), syn(), portIs(53), accept())
		b.add(ask, isTCP(), syn(), r.queue())
	}
	catch := b.chain("catch", -150)
	b.add(catch, isTCP(), portIs(53), accept())
	if r.Ask != AskNot {
		// What was not admitted meets no listener, and so is refused by the kernel.
		b.add(catch, isTCP(), syn(), mark(expr.CmpOpNeq, MarkAdmitted), accept())
	}
	b.add(catch, isTCP(), r.tproxy(PortTCP))
	return b.batch()
}

// encodeInside leads connections to the loopback on which nothing of the
// namespace's own listens to PortLocal, and questions to port 53 there to
// PortLocalDNS. What has a socket of its own, in TIME_WAIT too, is left alone; so
// is what carries MarkOwn. Each rule lets go what the next need not see.
func (r Ruleset) encodeInside() (Batch, error) {
	b := r.begin()
	if r.Ask != AskNot {
		ask := b.chain("ask", -160)
		b.add(ask, notViaLoopback(), accept())
		b.add(ask, mark(expr.CmpOpEq, MarkOwn), accept())
		b.add(ask, protocolIsNot(unix.IPPROTO_TCP), accept())
		b.add(ask, notSYN(), accept())
		b.add(ask, portIs(53), accept())
		b.add(ask, ownSocket(), accept())
		for _, to := range r.loopbacks() {
			b.add(ask, to, r.queue())
		}
	}
	catch := b.chain("catch", -150)
	b.add(catch, notViaLoopback(), accept())
	b.add(catch, mark(expr.CmpOpEq, MarkOwn), accept())
	for _, to := range r.loopbacks() {
		b.add(catch, isUDP(), portIs(53), to, ownSocket(), accept())
		b.add(catch, isUDP(), portIs(53), to, r.tproxy(PortLocalDNS), accept())
	}
	b.add(catch, protocolIsNot(unix.IPPROTO_TCP), accept())
	b.add(catch, notSYN(), accept())
	b.add(catch, ownSocket(), accept())
	for _, to := range r.loopbacks() {
		b.add(catch, portIs(53), to, r.tproxy(PortLocalDNS), accept())
	}
	if r.Ask != AskNot {
		b.add(catch, mark(expr.CmpOpNeq, MarkAdmitted), accept())
	}
	for _, to := range r.loopbacks() {
		b.add(catch, to, r.tproxy(PortLocal), accept())
	}
	return b.batch()
}

func (b *builder) chain(name string, priority nftables.ChainPriority) *nftables.Chain {
	return b.conn.AddChain(&nftables.Chain{
		Name: name, Table: b.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: &priority,
	})
}

func (b *builder) add(c *nftables.Chain, parts ...[]expr.Any) {
	b.conn.AddRule(&nftables.Rule{Table: b.table, Chain: c, Exprs: join(parts...)})
}

func join(parts ...[]expr.Any) (all []expr.Any) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// loopbacks returns a match for each family's loopback addresses.
func (r Ruleset) loopbacks() [][]expr.Any {
	all := [][]expr.Any{join(r.family(unix.NFPROTO_IPV4), []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{127}},
	})}
	if r.IPv6 {
		all = append(all, join(r.family(unix.NFPROTO_IPV6), []expr.Any{
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{15: 1}},
		}))
	}
	return all
}

// family matches the address family, where a table has two.
func (r Ruleset) family(f byte) []expr.Any {
	if !r.IPv6 {
		return nil
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{f}},
	}
}

func protocol(op expr.CmpOp, p byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
		&expr.Cmp{Op: op, Register: reg, Data: []byte{p}},
	}
}

func isTCP() []expr.Any               { return protocol(expr.CmpOpEq, unix.IPPROTO_TCP) }
func isUDP() []expr.Any               { return protocol(expr.CmpOpEq, unix.IPPROTO_UDP) }
func protocolIsNot(p byte) []expr.Any { return protocol(expr.CmpOpNeq, p) }

func portIs(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// syn matches the first packet of a connection, notSYN all others of TCP.
func syn() []expr.Any { return flags(expr.CmpOpEq) }

func notSYN() []expr.Any { return flags(expr.CmpOpNeq) }

func flags(op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{tcpSYN | tcpACK}, Xor: []byte{0}},
		&expr.Cmp{Op: op, Register: reg, Data: []byte{tcpSYN}},
	}
}

func notViaLoopback() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIF, Register: reg},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: binaryutil.NativeEndian.PutUint32(loopbackIndex)},
	}
}

func mark(op expr.CmpOp, value uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg},
		&expr.Cmp{Op: op, Register: reg, Data: binaryutil.NativeEndian.PutUint32(value)},
	}
}

// ownSocket matches if the packet has a socket that is not transparent, which
// all of ours are. The kernel looks for listeners too. Without any socket the
// expression does not match.
func ownSocket() []expr.Any {
	return []expr.Any{
		&expr.Socket{Key: expr.SocketKeyTransparent, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{0}},
	}
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

// tproxy gives the packet to the transparent socket on a port, of whichever
// family the packet has.
func (r Ruleset) tproxy(port uint16) []expr.Any {
	t := &expr.TProxy{Family: unix.NFPROTO_UNSPEC, TableFamily: unix.NFPROTO_INET, RegPort: reg}
	if !r.IPv6 {
		t.Family, t.TableFamily = unix.NFPROTO_IPV4, unix.NFPROTO_IPV4
	}
	return []expr.Any{&expr.Immediate{Register: reg, Data: binaryutil.BigEndian.PutUint16(port)}, t}
}

// queue holds the packet until this process says what becomes of it; it passes
// where nobody listens to the queue.
func (r Ruleset) queue() []expr.Any {
	if r.Ask == AskNative {
		return []expr.Any{&expr.Queue{Num: Queue, Total: 1, Flag: expr.QueueFlagBypass}}
	}
	// struct xt_NFQ_info_v3: number, how many, flags (1 is bypass), reserved.
	info := xt.Unknown(append(binaryutil.NativeEndian.PutUint16(Queue), append(
		binaryutil.NativeEndian.PutUint16(1), append(binaryutil.NativeEndian.PutUint16(1), 0, 0)...)...))
	return []expr.Any{&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}}
}

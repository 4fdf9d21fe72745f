package redirect

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// reg is the register of a rule: rules here need one value, or a port.
const reg = 1

// beforeOthers is the hooks' priority: just before the place of other
// destination NAT (-100), so that what Docker or Kubernetes would translate is
// seen as the client meant it.
const beforeOthers nftables.ChainPriority = -101

// write adds chains and rules to a table; the caller flushes. The chain "lead"
// has what the hooks share.
func (r Rules) write(conn *nftables.Conn, table *nftables.Table) {
	w := writer{conn, table}
	lead := conn.AddChain(&nftables.Chain{Name: "lead", Table: table})
	w.add(lead, isTCP(), portsAre(Ports{dnsPort, dnsPort}), leave())
	for _, p := range r.SkipPorts {
		w.add(lead, isTCP(), portsAre(p), leave())
	}
	for _, to := range r.Skip {
		w.add(lead, within(to.Masked().Addr().AsSlice(), to.Bits()), leave())
	}
	only := r.Ports
	if len(only) == 0 {
		only = []Ports{{0, 65535}}
	}
	for _, p := range only {
		if r.IPv4 != 0 {
			w.add(lead, family(unix.NFPROTO_IPV4), isTCP(), portsAre(p), redirectTo(r.IPv4))
		}
		if r.IPv6 != 0 {
			w.add(lead, family(unix.NFPROTO_IPV6), isTCP(), portsAre(p), redirectTo(r.IPv6))
		}
	}

	output := w.hook("output", nftables.ChainHookOutput)
	w.add(output, meta(expr.MetaKeyMARK, expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(Mark)), leave())
	for _, uid := range r.SkipUIDs {
		w.add(output, meta(expr.MetaKeySKUID, expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(uid)), leave())
	}
	for _, port := range append([]uint16{r.IPv4, r.IPv6}, r.Own...) {
		if port != 0 {
			w.add(output, toHere(), isTCP(), portsAre(Ports{port, port}), leave())
		}
	}
	w.add(output, isTCP(), jump(lead))

	if r.Forwarded {
		forwarded := w.hook("forwarded", nftables.ChainHookPrerouting)
		w.add(forwarded, toHere(), leave())
		w.add(forwarded, isTCP(), jump(lead))
	}
}

type writer struct {
	conn  *nftables.Conn
	table *nftables.Table
}

func (w writer) hook(name string, at *nftables.ChainHook) *nftables.Chain {
	priority := beforeOthers
	return w.conn.AddChain(&nftables.Chain{
		Name: name, Table: w.table, Type: nftables.ChainTypeNAT, Hooknum: at, Priority: &priority,
	})
}

func (w writer) add(c *nftables.Chain, parts ...[]expr.Any) {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	w.conn.AddRule(&nftables.Rule{Table: w.table, Chain: c, Exprs: all})
}

func meta(key expr.MetaKey, op expr.CmpOp, data []byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: reg},
		&expr.Cmp{Op: op, Register: reg, Data: data},
	}
}

func family(f byte) []expr.Any { return meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{f}) }

func isTCP() []expr.Any { return meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{unix.IPPROTO_TCP}) }

// portsAre matches the destination's port; it wants isTCP before it.
func portsAre(p Ports) []expr.Any {
	load := &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	from, to := binaryutil.BigEndian.PutUint16(p.From), binaryutil.BigEndian.PutUint16(p.To)
	switch {
	case p.From == 0 && p.To == 65535:
		return nil
	case p.From == p.To:
		return []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: from}}
	}
	return []expr.Any{
		load,
		&expr.Cmp{Op: expr.CmpOpGte, Register: reg, Data: from},
		&expr.Cmp{Op: expr.CmpOpLte, Register: reg, Data: to},
	}
}

// within matches destinations of a network: its address, of 4 or 16 bytes, and
// how many bits of it count.
func within(addr []byte, bits int) []expr.Any {
	f, offset := byte(unix.NFPROTO_IPV4), uint32(16)
	if len(addr) == 16 {
		f, offset = unix.NFPROTO_IPV6, 24
	}
	mask := make([]byte, len(addr))
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return append(family(f),
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(addr))},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: uint32(len(addr)), Mask: mask, Xor: make([]byte, len(addr))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: addr},
	)
}

// toHere matches what is meant for an address of this machine.
func toHere() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: reg, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

func redirectTo(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Redir{RegisterProtoMin: reg},
	}
}

// leave ends the look at these rules: the connection goes its way.
func leave() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}} }

func jump(to *nftables.Chain) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: to.Name}}
}

// flush sends what was written, as one transaction.
func flush(conn *nftables.Conn, what string) error {
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("nftables: %s: %w", what, err)
	}
	return nil
}

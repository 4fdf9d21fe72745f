package shaping

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Attributes of the tproxy expression. Source: linux/netfilter/nf_tables.h.
const (
	nftaTProxyFamily  = 1
	nftaTProxyRegPort = 3
)

// nfprotoIPv4 is the address family as nf_tables counts it.
const nfprotoIPv4 = 2

// tryTProxy makes a table with a rule that redirects to a port with TPROXY, in
// the current network namespace.
func tryTProxy() (err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	// A kernel that does not answer must not hang the doctor.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Sendto(fd, tproxyBatch(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 64<<10)
	for acked := 0; acked < 3; { // table, chain, rule
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		for rest := buf[:n]; len(rest) >= unix.NLMSG_HDRLEN; acked++ {
			size := int(binary.NativeEndian.Uint32(rest))
			if size < unix.NLMSG_HDRLEN+4 || size > len(rest) {
				return errors.New("nf_tables: an answer cut short")
			}
			if code := int32(binary.NativeEndian.Uint32(rest[unix.NLMSG_HDRLEN:])); code != 0 {
				what := [...]string{"batch", "table", "chain", "rule with tproxy", "batch"}[min(binary.NativeEndian.Uint32(rest[8:]), 4)]
				return fmt.Errorf("nf_tables: add %s: %w", what, unix.Errno(-code))
			}
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
	return nil
}

// tproxyBatch is the transaction of table, chain and rule; the messages'
// sequence numbers are 0 to 4.
func tproxyBatch() []byte {
	name := func(kind uint16) []byte { return nlAttr(kind, []byte("understudy_probe\x00")) }
	be32 := func(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
	expr := func(kind string, data ...[]byte) []byte {
		return nlAttr(unix.NFTA_LIST_ELEM,
			nlAttr(unix.NFTA_EXPR_NAME, append([]byte(kind), 0)), nlAttr(unix.NFTA_EXPR_DATA, data...))
	}
	table := name(unix.NFTA_TABLE_NAME)
	chain := [][]byte{
		name(unix.NFTA_CHAIN_TABLE), name(unix.NFTA_CHAIN_NAME),
		nlAttr(unix.NFTA_CHAIN_HOOK,
			nlAttr(unix.NFTA_HOOK_HOOKNUM, be32(unix.NF_INET_PRE_ROUTING)), nlAttr(unix.NFTA_HOOK_PRIORITY, be32(0))),
		nlAttr(unix.NFTA_CHAIN_TYPE, []byte("filter\x00")),
	}
	port := binary.BigEndian.AppendUint16(nil, 9) // the discard service's; nothing flows here
	rule := [][]byte{
		name(unix.NFTA_RULE_TABLE), name(unix.NFTA_RULE_CHAIN),
		nlAttr(unix.NFTA_RULE_EXPRESSIONS,
			expr("immediate", nlAttr(unix.NFTA_IMMEDIATE_DREG, be32(unix.NFT_REG_1)),
				nlAttr(unix.NFTA_IMMEDIATE_DATA, nlAttr(unix.NFTA_DATA_VALUE, port))),
			expr("tproxy", nlAttr(nftaTProxyFamily, be32(nfprotoIPv4)), nlAttr(nftaTProxyRegPort, be32(unix.NFT_REG_1)))),
	}
	const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8
	const add = unix.NLM_F_REQUEST | unix.NLM_F_ACK | unix.NLM_F_CREATE
	var b []byte
	b = nfMessage(b, unix.NFNL_MSG_BATCH_BEGIN, unix.NLM_F_REQUEST, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	b = nfMessage(b, subsystem|unix.NFT_MSG_NEWTABLE, add, 1, nfprotoIPv4, 0, table)
	b = nfMessage(b, subsystem|unix.NFT_MSG_NEWCHAIN, add, 2, nfprotoIPv4, 0, chain...)
	b = nfMessage(b, subsystem|unix.NFT_MSG_NEWRULE, add|unix.NLM_F_APPEND, 3, nfprotoIPv4, 0, rule...)
	return nfMessage(b, unix.NFNL_MSG_BATCH_END, unix.NLM_F_REQUEST, 4, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
}

// nfMessage appends a netlink message with nfgenmsg's head: family, version 0 and
// resource, which alone is in network order.
func nfMessage(b []byte, kind, flags uint16, seq uint32, family byte, resource uint16, attrs ...[]byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0) // the length, set below
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, family, 0)
	b = binary.BigEndian.AppendUint16(b, resource)
	for _, a := range attrs {
		b = append(b, a...)
	}
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

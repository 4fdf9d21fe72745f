package redirect

import (
	"encoding/binary"
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// tableOwner is NFT_TABLE_F_OWNER: the table is its socket's, nobody else may
// change it, and it goes with the socket. Source: linux/netfilter/nf_tables.h.
const tableOwner = 2

// ownedTable makes a table that this socket owns. The package nftables cannot
// say so: it writes no flags.
func ownedTable(socket *netlink.Conn, name string) error {
	attrs := netlink.NewAttributeEncoder()
	attrs.ByteOrder = binary.BigEndian
	attrs.String(unix.NFTA_TABLE_NAME, name)
	attrs.Uint32(unix.NFTA_TABLE_FLAGS, tableOwner)
	data, err := attrs.Encode()
	if err != nil {
		return err
	}
	ask := netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl
	_, err = socket.SendMessages([]netlink.Message{
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request}, Data: nfgenmsg(0, unix.NFNL_SUBSYS_NFTABLES)},
		{Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE, Flags: ask}, Data: append(nfgenmsg(unix.NFPROTO_INET, 0), data...)},
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request}, Data: nfgenmsg(0, unix.NFNL_SUBSYS_NFTABLES)},
	})
	if err != nil {
		return err
	}
	if _, err = socket.Receive(); err != nil {
		if op, ok := errors.AsType[*netlink.OpError](err); ok {
			return op.Err
		}
	}
	return err
}

// nfgenmsg is a message's head: family, version 0, resource.
func nfgenmsg(family byte, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, 0}, resource)
}

//go:build linux

package nat

import (
	"encoding/binary"
	"errors"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Batch is a transaction, ready to be sent to NETLINK_NETFILTER: either all of it
// is done or nothing. Last is the sequence number of its last message that makes
// something; that one asks for an answer.
type Batch struct {
	Bytes []byte
	Last  int
}

// builder collects the transaction.
type builder struct {
	conn  *nftables.Conn
	table *nftables.Table
	sent  []netlink.Message
	err   error
}

var errKept = errors.New("kept and not sent")

// begin starts a transaction that is not sent but kept: the library offers the
// encoded messages to a connection of the caller's only.
func (r Ruleset) begin() *builder {
	b := &builder{}
	b.conn, b.err = nftables.New(nftables.WithTestDial(func(messages []netlink.Message) ([]netlink.Message, error) {
		b.sent = append(b.sent, messages...)
		return nil, errKept
	}))
	if b.err != nil {
		return b
	}
	family := nftables.TableFamilyINet
	if !r.IPv6 {
		family = nftables.TableFamilyIPv4
	}
	b.table = b.conn.AddTable(&nftables.Table{Family: family, Name: "understudy"})
	return b
}

// batch encodes the transaction with one request for an answer.
func (b *builder) batch() (out Batch, err error) {
	if b.err != nil {
		return out, b.err
	}
	if err := b.conn.Flush(); !errors.Is(err, errKept) {
		return out, errors.Join(errors.New("nftables: the rules were not encoded"), err)
	}
	for i, m := range b.sent {
		number := i + 1
		flags := m.Header.Flags &^ (netlink.Acknowledge | netlink.Echo) // each would be answered
		if i == len(b.sent)-2 {                                         // the last one ends the transaction
			flags |= netlink.Acknowledge
			out.Last = number
		}
		out.Bytes = binary.NativeEndian.AppendUint32(out.Bytes, uint32(unix.NLMSG_HDRLEN+len(m.Data)))
		out.Bytes = binary.NativeEndian.AppendUint16(out.Bytes, uint16(m.Header.Type))
		out.Bytes = binary.NativeEndian.AppendUint16(out.Bytes, uint16(flags))
		out.Bytes = binary.NativeEndian.AppendUint32(out.Bytes, uint32(number))
		out.Bytes = append(append(out.Bytes, 0, 0, 0, 0), m.Data...)
		for len(out.Bytes)%unix.NLMSG_ALIGNTO != 0 {
			out.Bytes = append(out.Bytes, 0)
		}
	}
	return out, nil
}

//go:build linux

// Package link writes the netlink messages that make the link between a captured
// command's network namespace and the gateway's, with addresses and routes. It
// sends none: who may do so is in the namespaces.
package link

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Names of the two ends, and the index that both have, each in its namespace. The
// command sees eth0, as in any container.
const (
	Down  = "gateway0"
	Up    = "eth0"
	Index = 100
)

// anyTable is the routing table in which every IPv6 address is the gateway's own.
const anyTable = 100

// loopbackIndex is what "lo" has in every network namespace.
const loopbackIndex = 1

// end is one end of the link.
type end struct {
	mac []byte // locally administered
	ip4 net.IP // from the last /24 of what dns.Names leaves alone
	ip6 net.IP // unique local
}

// prefix4 and prefix6 are the sizes of the link's subnets.
const prefix4, prefix6 = 30, 64

var (
	down = end{[]byte{2, 'u', 'n', 'd', 0, 1}, address4(1), address6(1)}
	up   = end{[]byte{2, 'u', 'n', 'd', 0, 2}, address4(2), address6(2)}
)

func address4(host byte) net.IP { return net.IP{198, 19, 255, host} }

func address6(host byte) net.IP { return net.IP{0xfd, 'u', 'n', 'd', 'e', 'r', 's', 't', 15: host} }

// Addresses are the IPv4 addresses of the gateway's end and the command's.
func Addresses() (ofDown, ofUp netip.Addr) {
	return netip.AddrFrom4([4]byte(down.ip4)), netip.AddrFrom4([4]byte(up.ip4))
}

// Resolver is where the gateway is reached by name servers' clients.
func Resolver() net.IP { return down.ip4 }

// Batch is a sequence of messages, numbered from 1; the last asks for an answer.
type Batch struct {
	Bytes []byte
	Last  int
}

// add appends a request to make something.
func (b *Batch) add(kind int, parts ...nl.NetlinkRequestData) {
	b.append(kind, unix.NLM_F_CREATE|unix.NLM_F_EXCL, parts)
}

// bringUp appends a request to bring up a link that is there.
func (b *Batch) bringUp(index int32) {
	b.append(unix.RTM_NEWLINK, 0, []nl.NetlinkRequestData{isUp(index)})
}

// deviceQueue is how many packets a device holds until its process takes them: what
// finds it full is lost without being counted, and on a busy machine a process may have
// to wait for some ms.
const deviceQueue = 10_000

// bringUpAs appends a request to give the link's end its hardware address and bring it up.
func (b *Batch) bringUpAs(e end) {
	b.append(unix.RTM_NEWLINK, 0, []nl.NetlinkRequestData{isUp(Index), nl.NewRtAttr(unix.IFLA_ADDRESS, e.mac),
		nl.NewRtAttr(unix.IFLA_TXQLEN, nl.Uint32Attr(deviceQueue))})
}

func (b *Batch) append(kind, flags int, parts []nl.NetlinkRequestData) {
	b.Last++
	r := nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{
		Len: unix.SizeofNlMsghdr, Type: uint16(kind), Flags: unix.NLM_F_REQUEST | uint16(flags), Seq: uint32(b.Last),
	}}
	for _, p := range parts {
		r.AddData(p)
	}
	b.Bytes = append(b.Bytes, r.Serialize()...)
}

// ask makes the message that starts at an offset ask for an answer.
func (b *Batch) ask(at int) { b.Bytes[at+6] |= unix.NLM_F_ACK }

// addLast appends the last request.
func (b *Batch) addLast(kind int, parts ...nl.NetlinkRequestData) {
	at := len(b.Bytes)
	b.add(kind, parts...)
	b.ask(at)
}

// Inside is what makes the pair of links and the command's end. namespace is the
// number that the sender's descriptor of the gateway's namespace has.
func Inside(namespace int) (b Batch) {
	b.add(unix.RTM_NEWLINK, pair(Index, Down, namespace, up.mac, down.mac)...)
	b.insideAddresses()
	return b
}

func (b *Batch) insideAddresses() {
	b.bringUp(loopbackIndex)
	b.add(unix.RTM_NEWADDR, hasAddress(up.ip4, prefix4)...)
	b.add(unix.RTM_NEWNEIGH, neighbour(down.ip4, down.mac)...)
	b.addLast(unix.RTM_NEWROUTE, route(unix.AF_INET, via(Index, down.ip4))...)
}

// Between makes both ends where there is no way to make devices for a process: each is
// one end of a pair, whose other lies in a namespace between the two, where sockets take
// and give its frames. outside and inside are the numbers that the sender's descriptors
// of the gateway's and the command's namespaces have.
func Between(outside, inside int) (b Batch) {
	b.add(unix.RTM_NEWLINK, pair(DownBetween, Down, outside, nil, down.mac)...)
	b.addLast(unix.RTM_NEWLINK, pair(UpBetween, Up, inside, nil, up.mac)...)
	return b
}

// Indexes of the other ends between.
const (
	DownBetween = Index + 1
	UpBetween   = Index + 2
)

// CarriedInside is Inside for an end that is there already, a device whose packets a
// process carries.
func CarriedInside() (b Batch) {
	b.bringUpAs(up)
	b.insideAddresses()
	return b
}

// CarriedOutside is likewise Outside.
func CarriedOutside() (b Batch) {
	b.bringUp(loopbackIndex)
	b.bringUpAs(down)
	b.outsideAddresses()
	return b
}

// Outside is the gateway's end. All that the command sends is for this machine,
// whatever its address: that route is in the table of local addresses, because for
// IPv4 only what that says may be the source of an ICMP error. Without it UDP would
// not be refused but time out. The command's own subnet must then be there too.
func Outside() (b Batch) {
	b.bringUp(loopbackIndex)
	b.bringUp(Index)
	b.outsideAddresses()
	return b
}

// State asks for what the kernel tells of the link's end.
func State() (b Batch) {
	const skipStatistics = 1 << 3 // RTEXT_FILTER_SKIP_STATS
	m := nl.NewIfInfomsg(unix.AF_UNSPEC)
	m.Index = Index
	b.append(unix.RTM_GETLINK, unix.NLM_F_ACK, []nl.NetlinkRequestData{m, nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStatistics))})
	return b
}

func (b *Batch) outsideAddresses() {
	b.add(unix.RTM_NEWADDR, hasAddress(down.ip4, prefix4)...)
	b.add(unix.RTM_NEWNEIGH, neighbour(up.ip4, up.mac)...)
	near := route(unix.AF_INET, onLink(unix.RT_TABLE_LOCAL, down.ip4.Mask(net.CIDRMask(prefix4, 32)), prefix4))
	b.add(unix.RTM_NEWROUTE, near...)
	b.addLast(unix.RTM_NEWROUTE, route(unix.AF_INET, everythingLocal(unix.RT_TABLE_LOCAL))...)
}

// Inside6 is what IPv6 adds to the command's end. That what comes to its address is its
// own, the kernel itself knows some time after it has answered (a workqueue's): until then
// an answer from the gateway would be lost and nobody told.
func Inside6() (b Batch) {
	b.add(unix.RTM_NEWROUTE, route(unix.AF_INET6, ownAddress(up.ip6))...)
	b.add(unix.RTM_NEWADDR, hasAddress(up.ip6, prefix6)...)
	b.add(unix.RTM_NEWNEIGH, neighbour(down.ip6, down.mac)...)
	b.addLast(unix.RTM_NEWROUTE, route(unix.AF_INET6, via(Index, down.ip6))...)
	return b
}

// Outside6 is what IPv6 adds to the gateway's end. IPv6 takes any source for its
// errors: a table for what arrives from the command does.
func Outside6() (b Batch) {
	b.add(unix.RTM_NEWADDR, hasAddress(down.ip6, prefix6)...)
	b.add(unix.RTM_NEWNEIGH, neighbour(up.ip6, up.mac)...)
	b.add(unix.RTM_NEWROUTE, route(unix.AF_INET6, everythingLocal(anyTable))...)
	rule := nl.NewRtMsg()
	rule.Family, rule.Table, rule.Type, rule.Protocol = unix.AF_INET6, anyTable, nl.FR_ACT_TO_TBL, unix.RTPROT_STATIC
	b.addLast(unix.RTM_NEWRULE, rule, nl.NewRtAttr(nl.FRA_IIFNAME, nl.ZeroTerminated(Down)))
	return b
}

// pair makes a link with an end in the sender's namespace, which it brings up, and another
// in the numbered one, with fixed indexes: nothing need be looked up, and what follows can
// be sent in one piece. The near end has the name of the other's counterpart.
func pair(index int32, name string, namespace int, mac, farMAC []byte) []nl.NetlinkRequestData {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	peerInfo := nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	peerInfo.Index = Index // it cannot be brought up before the other is there
	other := peer.AddRtAttr
	other(unix.IFLA_IFNAME, nl.ZeroTerminated(name))
	other(unix.IFLA_ADDRESS, farMAC)
	other(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(namespace)))
	all := []nl.NetlinkRequestData{isUp(index), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(near(name))), info}
	if mac != nil {
		all = append(all, nl.NewRtAttr(unix.IFLA_ADDRESS, mac))
	}
	return all
}

// near is what the end before the one with a name is called.
func near(far string) string {
	if far == Down {
		return Up
	}
	return Down
}

func isUp(index int32) *nl.IfInfomsg {
	m := nl.NewIfInfomsg(unix.AF_UNSPEC)
	m.Index, m.Flags, m.Change = index, unix.IFF_UP, unix.IFF_UP
	return m
}

func family(ip net.IP) int {
	if len(ip) == net.IPv4len {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// hasAddress gives a link an address, which nobody else on it can have: IPv6 need
// not look for duplicates.
func hasAddress(ip net.IP, prefix uint8) []nl.NetlinkRequestData {
	m := nl.NewIfAddrmsg(family(ip))
	m.Prefixlen, m.Index, m.Flags = prefix, Index, unix.IFA_F_NODAD
	return []nl.NetlinkRequestData{m, nl.NewRtAttr(unix.IFA_LOCAL, ip), nl.NewRtAttr(unix.IFA_ADDRESS, ip)}
}

// neighbour makes the other end known: an address resolution would be delayed by
// a shaped link.
func neighbour(ip net.IP, mac []byte) []nl.NetlinkRequestData {
	m := ndmsg{family: uint8(family(ip)), index: Index, state: unix.NUD_PERMANENT}
	return []nl.NetlinkRequestData{m, nl.NewRtAttr(unix.NDA_DST, ip), nl.NewRtAttr(unix.NDA_LLADDR, mac)}
}

// way is how a route goes on.
type way struct {
	table, prefix, kind, scope uint8
	index                      uint32
	to, gateway                net.IP
}

func via(index uint32, gateway net.IP) way {
	return way{table: unix.RT_TABLE_MAIN, kind: unix.RTN_UNICAST, scope: unix.RT_SCOPE_UNIVERSE, index: index, gateway: gateway}
}

func onLink(table uint8, to net.IP, prefix uint8) way {
	return way{table: table, kind: unix.RTN_UNICAST, scope: unix.RT_SCOPE_LINK, index: Index, to: to, prefix: prefix}
}

func everythingLocal(table uint8) way {
	return way{table: table, kind: unix.RTN_LOCAL, scope: unix.RT_SCOPE_HOST, index: loopbackIndex}
}

func route(family uint8, w way) []nl.NetlinkRequestData {
	m := nl.NewRtMsg()
	m.Family, m.Table, m.Type, m.Scope, m.Dst_len, m.Protocol = family, w.table, w.kind, w.scope, w.prefix, unix.RTPROT_STATIC
	all := []nl.NetlinkRequestData{m, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(w.index))}
	if w.to != nil {
		all = append(all, nl.NewRtAttr(unix.RTA_DST, w.to))
	}
	if w.gateway != nil {
		all = append(all, nl.NewRtAttr(unix.RTA_GATEWAY, w.gateway))
	}
	return all
}

func ownAddress(ip net.IP) way {
	return way{table: unix.RT_TABLE_LOCAL, prefix: uint8(8 * len(ip)), kind: unix.RTN_LOCAL, scope: unix.RT_SCOPE_HOST, index: Index, to: ip}
}

// ndmsg is the kernel's struct of that name. Source: linux/neighbour.h.
type ndmsg struct {
	family uint8
	index  int32
	state  uint16
}

func (m ndmsg) Len() int { return unix.SizeofNdMsg }

func (m ndmsg) Serialize() []byte {
	n := nl.NativeEndian()
	b := make([]byte, m.Len())
	b[0] = m.family
	n.PutUint32(b[4:], uint32(m.index))
	n.PutUint16(b[8:], m.state)
	return b
}

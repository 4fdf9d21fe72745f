package gateway

import (
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The link's two ends. The command sees eth0, as in any container.
const (
	downName = "gateway0"
	upName   = "eth0"
)

// anyTable is the routing table in which every IPv6 address is the gateway's own.
const anyTable = 100

// end is one end of the link.
type end struct {
	name string
	mac  net.HardwareAddr // locally administered
	ip4  net.IPNet        // from the last /24 of what dns.Names leaves alone
	ip6  net.IPNet        // unique local
}

var (
	downEnd = end{downName, net.HardwareAddr{2, 'u', 'n', 'd', 0, 1}, subnet4(1), subnet6(1)}
	upEnd   = end{upName, net.HardwareAddr{2, 'u', 'n', 'd', 0, 2}, subnet4(2), subnet6(2)}
)

func subnet4(host byte) net.IPNet {
	return net.IPNet{IP: net.IP{198, 19, 255, host}, Mask: net.CIDRMask(30, 32)}
}

func subnet6(host byte) net.IPNet {
	return net.IPNet{IP: net.IP{0xfd, 'u', 'n', 'd', 'e', 'r', 's', 't', 15: host}, Mask: net.CIDRMask(64, 128)}
}

// buildLink makes the pair of links with addresses and routes, and returns the
// gateway's end and the command's. It is called in the command's namespace.
func buildLink(gateway, command *place, ipv6 *bool) (links []Link, err error) {
	down, up := gateway.routes, command.routes
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: upName, HardwareAddr: upEnd.mac},
		PeerName:  downName, PeerHardwareAddr: downEnd.mac, PeerNamespace: netlink.NsFd(gateway.ns),
	}
	if err := up.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("add a veth pair: %w", err)
	}
	upIndex, err := upEnd.bring(up, downEnd, ipv6)
	if err != nil {
		return nil, fmt.Errorf("the command's end: %w", err)
	}
	downIndex, err := downEnd.bring(down, upEnd, ipv6)
	if err != nil {
		return nil, fmt.Errorf("the gateway's end: %w", err)
	}
	if err := routes4(down, downIndex, up, upIndex); err != nil {
		return nil, err
	}
	if *ipv6 {
		if err := routes6(down, up, upIndex); err != nil {
			return nil, err
		}
	}
	return []Link{{Name: downName, Index: downIndex}, {Name: upName, Index: upIndex}}, nil
}

// routes4 sends all that the command sends to the gateway, where every address is
// local. That route is in the table of local addresses, because for IPv4 only what
// that says may be the source of an ICMP error: without them UDP would not be
// refused but time out. The command's own subnet must then be there too.
func routes4(down *netlink.Handle, downIndex int, up *netlink.Handle, upIndex int) error {
	everything := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	near := &net.IPNet{IP: downEnd.ip4.IP.Mask(downEnd.ip4.Mask), Mask: downEnd.ip4.Mask}
	if err := up.RouteAdd(&netlink.Route{LinkIndex: upIndex, Dst: everything, Gw: downEnd.ip4.IP}); err != nil {
		return fmt.Errorf("the command's default route: %w", err)
	}
	if err := down.RouteAdd(&netlink.Route{LinkIndex: downIndex, Dst: near, Table: unix.RT_TABLE_LOCAL, Scope: unix.RT_SCOPE_LINK}); err != nil {
		return fmt.Errorf("a route to the command: %w", err)
	}
	if err := down.RouteAdd(anyIsLocal(everything, unix.RT_TABLE_LOCAL, unix.AF_INET)); err != nil {
		return fmt.Errorf("a local route for every address: %w", err)
	}
	return nil
}

// routes6 is the same for IPv6, which takes any source; a table for what arrives
// from the command does.
func routes6(down, up *netlink.Handle, upIndex int) error {
	everything := &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	if err := up.RouteAdd(&netlink.Route{LinkIndex: upIndex, Dst: everything, Gw: downEnd.ip6.IP}); err != nil {
		return fmt.Errorf("the command's default route for IPv6: %w", err)
	}
	if err := down.RouteAdd(anyIsLocal(everything, anyTable, unix.AF_INET6)); err != nil {
		return fmt.Errorf("a local route for every IPv6 address: %w", err)
	}
	rule := netlink.NewRule()
	rule.Family, rule.IifName, rule.Table = unix.AF_INET6, downName, anyTable
	if err := down.RuleAdd(rule); err != nil {
		return fmt.Errorf("a rule for IPv6 that arrives: %w", err)
	}
	return nil
}

func anyIsLocal(everything *net.IPNet, table, family int) *netlink.Route {
	return &netlink.Route{LinkIndex: 1, Dst: everything, Table: table, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, Family: family}
}

// allowIPv6 undoes, in the current namespace, what a system that has IPv6 off by
// default hands down to new namespaces. Where that cannot be written it stays off.
func allowIPv6() {
	for _, of := range []string{"all", "default"} {
		name := "/proc/sys/net/ipv6/conf/" + of + "/disable_ipv6"
		if now, err := os.ReadFile(name); err == nil && len(now) > 0 && now[0] != '0' {
			_ = os.WriteFile(name, []byte("0"), 0)
		}
	}
}

// bring brings an end up, and the loopback, with addresses and the other end as a
// known neighbour: an address resolution would be delayed by a shaped link.
// ipv6 becomes false where the kernel refuses an IPv6 address.
func (e end) bring(h *netlink.Handle, other end, ipv6 *bool) (index int, err error) {
	lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: 1}}
	if err := h.LinkSetUp(lo); err != nil {
		return 0, fmt.Errorf("set lo up: %w", err)
	}
	link, err := h.LinkByName(e.name)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", e.name, err)
	}
	index = link.Attrs().Index
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: &e.ip4}); err != nil {
		return 0, fmt.Errorf("add %s: %w", &e.ip4, err)
	}
	if *ipv6 {
		if err := h.AddrAdd(link, &netlink.Addr{IPNet: &e.ip6, Flags: unix.IFA_F_NODAD}); err != nil {
			*ipv6 = false
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("set %s up: %w", e.name, err)
	}
	neighbour := netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, HardwareAddr: other.mac}
	near := []net.IP{other.ip4.IP}
	if *ipv6 {
		near = append(near, other.ip6.IP)
	}
	for _, neighbour.IP = range near {
		if err := h.NeighSet(&neighbour); err != nil {
			return 0, fmt.Errorf("the neighbour %s: %w", neighbour.IP, err)
		}
	}
	return index, nil
}

package shaping

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// mostBands is how many queues the kernel's prio can have. Source: linux/pkt_sched.h,
// TCQ_PRIO_BANDS. One of them is the link's own.
const mostBands = 16

// mostFilters bounds what the kernel looks through for a packet, in each direction.
const mostFilters = 1000

// Lookup finds the addresses of a host, in any order; repeats do not matter.
type Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

// KernelClasses makes of classes what the kernel can have, which knows addresses and no
// names: each host's name becomes the addresses that lookup tells now, and notes tell
// which. What a kernel cannot have is a *place.Error.
func KernelClasses(ctx context.Context, all []LinkClass, lookup Lookup) (fixed []LinkClass, notes []Finding, err error) {
	if len(all) >= mostBands {
		return nil, nil, all[mostBands-1].Error("put destinations with the same conditions into one class, with commas between them",
			"want at most %d classes, got %d: the kernel's prio has %d bands, one of them for what belongs to no class", mostBands-1, len(all), mostBands)
	}
	filters := 0
	for _, c := range all {
		to := c.To
		c.To = nil
		for _, d := range to {
			if !d.Named() {
				c.To = append(c.To, d)
				continue
			}
			addrs, err := c.addresses(ctx, d, lookup)
			if err != nil {
				return nil, nil, err
			}
			for _, a := range addrs {
				c.To = append(c.To, Destination{network: netip.PrefixFrom(a, a.BitLen()), first: d.first, last: d.last})
			}
			notes = append(notes, Finding{Class: c.Name, Level: Note, Text: fmt.Sprintf("%s is %s: looked up once, now, and not again", d.host, joinAddrs(addrs))})
		}
		for _, d := range c.To {
			filters += len(d.filters(Up))
		}
		if filters > mostFilters {
			return nil, nil, c.Error("ports in ranges whose size is a power of 2, and that begin at a multiple of it, take the fewest",
				"%s: want destinations that take at most %d of the kernel's filters in all, got more", c.Name, mostFilters)
		}
		fixed = append(fixed, c)
	}
	return fixed, notes, nil
}

// addresses are those of the host that d names.
func (c *LinkClass) addresses(ctx context.Context, d Destination, lookup Lookup) ([]netip.Addr, error) {
	if strings.HasPrefix(d.host, "*") {
		return nil, c.Error("name the hosts one by one, or their network; a captured command's link knows names: --link-to",
			"want a host, a network or a port, got %q: the kernel sees addresses, and not which names they have", d)
	}
	found, err := lookup(ctx, d.host)
	if err != nil {
		return nil, c.Error("give its address, or its network", "want a host that can be looked up, got %q: %v", d.host, err)
	}
	var addrs []netip.Addr
	for _, a := range found {
		addrs = append(addrs, a.Unmap().WithZone(""))
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	if addrs = slices.Compact(addrs); len(addrs) == 0 {
		return nil, c.Error("give its address, or its network", "want a host with addresses, got %q, which has none", d.host)
	}
	return addrs, nil
}

func joinAddrs(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

// touches reports whether link or one of its classes has conditions in direction d.
func touches(l Link, classes []LinkClass, d Direction) bool {
	return !l.Of(d).IsZero() || slices.ContainsFunc(classes, func(c LinkClass) bool { return !c.Link.Of(d).IsZero() })
}

// describeClasses is a link with its classes on one line, for people.
func describeClasses(l Link, classes []LinkClass) string {
	if len(classes) == 0 {
		return l.String()
	}
	text := orUnchanged(l)
	for i := range classes {
		text += "; to " + classes[i].Name + ": " + orUnchanged(classes[i].Link)
	}
	return text
}

func orUnchanged(l Link) string {
	if l.IsZero() {
		return "unchanged"
	}
	return l.String()
}

// Severs says why a session with a peer, such as SSH, would as good as end under a link
// with classes; "" where it would go on. Which port the session has is not asked: it holds
// for a class with ports what does for the link itself, either may have the session.
func Severs(l Link, classes []LinkClass, peer netip.Addr) string {
	for i := range classes {
		surely, perhaps := classes[i].holds(peer)
		if !perhaps {
			continue
		}
		if why := classes[i].Link.Severs(); why != "" {
			return "class " + classes[i].Name + ": " + why
		}
		if surely {
			return ""
		}
	}
	return l.Severs()
}

// holds reports whether all that goes to a peer belongs to c, and whether some may. A
// name may be anybody's.
func (c *LinkClass) holds(peer netip.Addr) (surely, perhaps bool) {
	for _, d := range c.To {
		open := Destination{network: d.network}
		if d.Named() || open.Matches(peer, 0, "") {
			perhaps = true
			surely = surely || !d.Named() && d.first == 0
		}
	}
	return surely, perhaps
}

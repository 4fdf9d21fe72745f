package shaping

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Carries reports whether traffic to an address leaves, or may leave, by target: by
// itself, by the bridge or bond it belongs to, or by what is made on top of it.
func Carries(t Target, to netip.Addr) (bool, error) {
	c, err := t.dialNamespace()
	if err != nil {
		return false, err
	}
	defer c.close()
	l, err := c.link(t.Interface)
	if err != nil {
		return false, fmt.Errorf("route of %s: %w", t.Interface, err)
	}
	routes, err := c.links.RouteGet(to.Unmap().AsSlice())
	if err != nil {
		return false, fmt.Errorf("route to %s: %w", to, err)
	}
	for _, r := range routes {
		for _, index := range append([]int{r.LinkIndex}, nextHops(r)...) {
			carries, err := c.above(index, l.Attrs().Index)
			if carries || err != nil {
				return carries, err
			}
		}
	}
	return false, nil
}

func nextHops(r netlink.Route) (indexes []int) {
	for _, h := range r.MultiPath {
		indexes = append(indexes, h.LinkIndex)
	}
	return indexes
}

// above reports whether what leaves by upper may pass lower.
func (c *conn) above(upper, lower int) (bool, error) {
	if upper == lower {
		return true, nil
	}
	all, err := c.all()
	if err != nil {
		return false, err
	}
	up := map[int]netlink.Link{}
	for _, l := range all {
		up[l.Attrs().Index] = l
	}
	// Down from upper by what it is made on, and up from lower by what it belongs to.
	for i := upper; up[i] != nil && up[i].Type() != "veth"; i = up[i].Attrs().ParentIndex {
		if p := up[i].Attrs().ParentIndex; p == lower {
			return true, nil
		} else if p == i {
			break
		}
	}
	for i, steps := lower, 0; up[i] != nil && steps < len(all); i, steps = up[i].Attrs().MasterIndex, steps+1 {
		if up[i].Attrs().MasterIndex == upper {
			return true, nil
		}
	}
	return false, nil
}

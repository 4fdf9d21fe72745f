package shaping

import (
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// Interfaces returns the interfaces of a network namespace, nil for the current one.
func Interfaces(namespace *os.File) ([]Interface, error) {
	c, err := dial(namespace)
	if err != nil {
		return nil, err
	}
	defer c.close()
	found, err := c.all()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	all := make([]Interface, len(found))
	for i, l := range found {
		all[i] = describeLink(l)
	}
	return all, nil
}

func describeLink(l netlink.Link) Interface {
	a := l.Attrs()
	return Interface{Index: a.Index, Name: a.Name, Kind: l.Type(), MTU: a.MTU, Up: a.Flags&net.FlagUp != 0}
}

func linkNames(links []netlink.Link) string {
	names := make([]string, len(links))
	for i, l := range links {
		names[i] = l.Attrs().Name
	}
	return strings.Join(names, ", ")
}

// Show reads the qdiscs and classes of an interface. It changes nothing and needs
// no privilege beyond entering the namespace.
func Show(t Target) (State, error) {
	c, err := t.dialNamespace()
	if err != nil {
		return State{}, err
	}
	defer c.close()
	l, err := c.link(t.Interface)
	if err != nil {
		return State{}, fmt.Errorf("show %q: %w", t.Interface, err)
	}
	s := State{Interface: describeLink(l)}
	if s.Qdiscs, err = c.describe(l); err != nil {
		return State{}, fmt.Errorf("show qdiscs of %s: %w", t.Interface, err)
	}
	classes, err := retry(func() ([]netlink.Class, error) { return c.links.ClassList(l, 0) })
	if err != nil {
		return State{}, fmt.Errorf("show classes of %s: %w", t.Interface, err)
	}
	for _, class := range classes {
		if h, ok := class.(*netlink.HtbClass); ok { // the library reads bytes
			s.Classes = append(s.Classes, Class{netlink.HandleStr(h.Handle), netlink.HandleStr(h.Parent), 8 * h.Rate, 8 * h.Ceil})
		}
	}
	return s, nil
}

// describe reads the qdiscs with their parameters: netem's here, tbf's and htb's by
// the library, which leaves half of netem's out.
func (c *conn) describe(l netlink.Link) ([]Qdisc, error) {
	raw, err := c.qdiscs(l.Attrs().Index)
	if err != nil {
		return nil, err
	}
	read, err := retry(func() ([]netlink.Qdisc, error) { return c.links.QdiscList(l) })
	if err != nil {
		return nil, err
	}
	var list []Qdisc
	for _, r := range raw {
		q := Qdisc{Kind: r.kind, Handle: netlink.HandleStr(r.handle), Parent: netlink.HandleStr(r.parent), Counters: r.counters}
		if r.kind == kindNetem {
			n, err := Decode(r.options)
			if err != nil {
				return nil, fmt.Errorf("netem %s: %w", q.Handle, err)
			}
			q.Netem = &n
		}
		for _, other := range read {
			if a := other.Attrs(); a.Handle != r.handle || a.Parent != r.parent {
				continue
			}
			switch o := other.(type) {
			case *netlink.Tbf: // the library reads bytes
				q.TBF = &TBF{Rate: 8 * o.Rate, PeakRate: 8 * o.Peakrate, Limit: o.Limit}
			case *netlink.Htb:
				q.HTB = &HTB{Default: o.Defcls}
			}
		}
		list = append(list, q)
	}
	return list, nil
}

const kindNetem = "netem"

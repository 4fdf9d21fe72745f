package shaping

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Links returns the links of the current network namespace.
func Links() ([]Link, error) {
	found, err := retry(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	links := make([]Link, len(found))
	for i, l := range found {
		links[i] = describeLink(l)
	}
	return links, nil
}

func describeLink(l netlink.Link) Link {
	a := l.Attrs()
	return Link{Index: a.Index, Name: a.Name, Kind: l.Type(), MTU: a.MTU, Up: a.Flags&net.FlagUp != 0}
}

// Show reads the qdiscs and classes of the link with the given name. It changes
// nothing and needs no privilege.
func Show(link string) (State, error) {
	l, err := netlink.LinkByName(link)
	if err != nil {
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			if links, e := Links(); e == nil {
				names := make([]string, len(links))
				for i := range links {
					names[i] = links[i].Name
				}
				return State{}, fmt.Errorf("show %q: no such link (there are: %s)", link, strings.Join(names, ", "))
			}
		}
		return State{}, fmt.Errorf("show %q: %w", link, err)
	}
	s := State{Link: describeLink(l)}
	if s.Qdiscs, err = retry(func() ([]Qdisc, error) { return qdiscs(l) }); err != nil {
		return State{}, fmt.Errorf("show qdiscs of %s: %w", link, err)
	}
	classes, err := retry(func() ([]netlink.Class, error) { return netlink.ClassList(l, 0) })
	if err != nil {
		return State{}, fmt.Errorf("show classes of %s: %w", link, err)
	}
	for _, c := range classes {
		if h, ok := c.(*netlink.HtbClass); ok { // the library reads bytes
			s.Classes = append(s.Classes, Class{netlink.HandleStr(h.Handle), netlink.HandleStr(h.Parent), 8 * h.Rate, 8 * h.Ceil})
		}
	}
	return s, nil
}

// retry asks again where the answer changed while it was given.
func retry[T any](list func() ([]T, error)) (found []T, err error) {
	for range 5 {
		if found, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return found, err
}

// qdiscs lists by way of the library, and reads netem's options raw beside it:
// the library leaves half of them out.
func qdiscs(l netlink.Link) ([]Qdisc, error) {
	found, err := netlink.QdiscList(l)
	if err != nil {
		return nil, err
	}
	var list []Qdisc
	for _, q := range found {
		a := q.Attrs()
		d := Qdisc{Kind: q.Type(), Handle: netlink.HandleStr(a.Handle), Parent: netlink.HandleStr(a.Parent)}
		switch q := q.(type) {
		case *netlink.Tbf: // the library reads bytes
			d.TBF = &TBF{Rate: 8 * q.Rate, PeakRate: 8 * q.Peakrate, Limit: q.Limit}
		case *netlink.Htb:
			d.HTB = &HTB{Default: q.Defcls}
		case *netlink.Netem:
			if d.Netem, err = readNetem(a); err != nil {
				return nil, fmt.Errorf("netem %s: %w", d.Handle, err)
			}
		}
		list = append(list, d)
	}
	return list, nil
}

func readNetem(a *netlink.QdiscAttrs) (*Netem, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(a.LinkIndex)})
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		tc := nl.DeserializeTcMsg(m)
		if int(tc.Ifindex) != a.LinkIndex || tc.Handle != a.Handle || tc.Parent != a.Parent {
			continue
		}
		var options []byte
		err := eachAttr(m[tc.Len():], func(kind uint16, v []byte) error {
			if kind == nl.TCA_OPTIONS {
				options = v
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return decodeNetem(options)
	}
	return nil, errors.New("it went away while it was read")
}

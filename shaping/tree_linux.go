package shaping

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A link with classes has a tree: prio at the root with a band for each class and a
// last one for what no filter picks, and in each band a netem, or a fifo where packets
// pass as they are. prio rather than htb, because it holds no packet back and wants no
// rate: a class's rate is its netem's. That it asks the bands in order matters only where
// the interface itself is the bottleneck, as it does not where netem is slower.

const (
	kindPrio = "prio"
	kindFifo = "pfifo"
	kindU32  = "u32"
	// fifoLimit is the queue of a class without conditions, in packets: the kernel's for Ethernet.
	fifoLimit = 1000
)

// leaf is where one queue sits: a class's or the link's own.
type leaf struct {
	class string     // "" for the link itself
	band  int        // from 0; -1 for a netem that is the root itself
	plain bool       // a fifo, as nothing was asked of it yet
	now   Conditions // in force, as read back; with the distributions, which the kernel does not tell
	// slotTable is set once a table of slots went out: it cannot be taken back, and
	// slots of a plain range need a table from then on.
	slotTable bool
	changes   uint64
}

// leavesOf are the queues of a link, the link's own last.
func leavesOf(classes []LinkClass) []*leaf {
	if len(classes) == 0 {
		return []*leaf{{band: -1}}
	}
	var all []*leaf
	for i := range classes {
		all = append(all, &leaf{class: classes[i].Name, band: i})
	}
	return append(all, &leaf{band: len(classes)})
}

// handle is that of the leaf's netem: 7573: at the root, 7574: and up in bands.
func (l *leaf) handle() uint32 { return ownHandle + uint32(l.band+1)<<16 }

// fifoHandle is that of its fifo. It is another one, as a qdisc cannot become one of
// another kind in place.
func (l *leaf) fifoHandle() uint32 { return l.handle() + mostBands<<16 }

// inForce is the handle of what is there.
func (l *leaf) inForce() uint32 {
	if l.plain {
		return l.fifoHandle()
	}
	return l.handle()
}

func (l *leaf) parent() uint32 {
	if l.band < 0 {
		return netlink.HANDLE_ROOT
	}
	return ownHandle | uint32(l.band+1)
}

// plant puts prio at the root and leads there what the classes have. What it has not
// taken as asked is an error.
func (c *conn) plant(e *end, d Direction, classes []LinkClass) error {
	// Packets that no filter picks are of the last band, whatever their own priority.
	options := nl.TcPrioMap{Bands: int32(len(classes) + 1)}
	for i := range options.Priomap {
		options.Priomap[i] = uint8(len(classes))
	}
	q := rawQdisc{kind: kindPrio, handle: ownHandle, parent: netlink.HANDLE_ROOT, options: bytes.Clone(options.Serialize())}
	if _, err := c.setQdisc(e.index, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, q); err != nil {
		return hintModule("prio on "+e.name, "sch_prio", err)
	}
	had, err := c.own(e.index, ownHandle)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if had.kind != q.kind || !bytes.Equal(had.options, q.options) {
		return fmt.Errorf("the kernel did not take it as asked: asked for prio with %d bands (%x), the kernel has %s (%x)", options.Bands, q.options, had.kind, had.options)
	}
	var asked []classFilter
	for i := range classes {
		for _, to := range classes[i].To {
			for _, f := range to.filters(d) {
				asked = append(asked, classFilter{i, f})
			}
		}
	}
	for _, f := range asked {
		if err := c.addFilter(e.index, f); err != nil {
			return fmt.Errorf("class %s: %w", classes[f.class].Name, hintModule("filter on "+e.name, "cls_u32", err))
		}
	}
	return c.compareFilters(e.index, asked)
}

// hintModule says what brings in what the kernel does not know.
func hintModule(what, module string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%s (hint: sudo modprobe %s): %w", what, module, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("want the right to change links (hint: run as root, or with CAP_NET_ADMIN): %w", err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// classFilter leads to a class, by its number.
type classFilter struct {
	class int
	filter
}

// preference orders filters, the lower first: the first class that has a packet takes it.
// The kernel wants one family to each.
func (f classFilter) preference() uint32 {
	if f.ipv6 {
		return uint32(2*f.class + 2)
	}
	return uint32(2*f.class + 1)
}

func (f classFilter) family() uint16 {
	if f.ipv6 {
		return unix.ETH_P_IPV6
	}
	return unix.ETH_P_IP
}

// String is f in tc's words.
func (f classFilter) String() string {
	return fmt.Sprintf("pref %d to %s: %s", f.preference(), netlink.HandleStr(ownHandle|uint32(f.class+1)), f.filter)
}

func (c *conn) addFilter(index int, f classFilter) error {
	sel := nl.TcU32Sel{Flags: nl.TC_U32_TERMINAL}
	for _, k := range f.keys {
		sel.Keys = append(sel.Keys, nl.TcU32Key{Mask: network32(k.mask), Val: network32(k.value), Off: int32(k.offset)})
	}
	if len(sel.Keys) == 0 {
		sel.Keys = append(sel.Keys, nl.TcU32Key{}) // of no bit: all packets
	}
	sel.Nkeys = uint8(len(sel.Keys))
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_U32_CLASSID, nl.Uint32Attr(ownHandle|uint32(f.class+1)))
	options.AddRtAttr(nl.TCA_U32_SEL, sel.Serialize())
	_, _, err := c.do(unix.RTM_NEWTFILTER, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Parent: ownHandle, Info: f.preference()<<16 | uint32(network16(f.family()))},
		nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(kindU32)), options)
	return err
}

// network32 and network16 are numbers whose bytes lie in memory as on the wire.
func network32(v uint32) uint32 { return native.Uint32(binary.BigEndian.AppendUint32(nil, v)) }

func network16(v uint16) uint16 { return native.Uint16(binary.BigEndian.AppendUint16(nil, v)) }

// compareFilters reads back what leads to bands, in tc's words, and names what differs.
func (c *conn) compareFilters(index int, asked []classFilter) error {
	had, err := c.filters(index)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	var diff []string
	for _, f := range asked {
		i := slices.Index(had, f.String())
		if i < 0 {
			diff = append(diff, "asked for the filter "+f.String()+", the kernel has none such")
			continue
		}
		had = slices.Delete(had, i, i+1)
	}
	for _, text := range had {
		diff = append(diff, "the kernel has the filter "+text+", which nobody asked for")
	}
	if len(diff) > 0 {
		return fmt.Errorf("the kernel did not take it as asked: %s", strings.Join(diff, "; "))
	}
	return nil
}

// filters are those of our prio on an interface, in tc's words.
func (c *conn) filters(index int) ([]string, error) {
	answers, err := retry(func() ([][]byte, error) {
		answers, _, err := c.do(unix.RTM_GETTFILTER, unix.NLM_F_DUMP, &nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Parent: ownHandle})
		return answers, err
	})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, m := range answers {
		tc := nl.DeserializeTcMsg(m)
		kind, options := "", []byte(nil)
		err := eachAttr(m[tc.Len():], func(attr uint16, v []byte) error {
			switch attr {
			case nl.TCA_KIND:
				kind = unix.ByteSliceToString(v)
			case nl.TCA_OPTIONS:
				options = v
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("filter: %w", err)
		}
		text, err := describeFilter(tc.Info, kind, options)
		if err != nil {
			return nil, fmt.Errorf("filter: %w", err)
		}
		if text != "" {
			all = append(all, text)
		}
	}
	return all, nil
}

// describeFilter is a filter as the kernel tells it, in tc's words; "" for a table that
// the kernel made to hold others.
func describeFilter(info uint32, kind string, options []byte) (string, error) {
	var sel []byte
	to := uint32(0)
	err := eachAttr(options, func(attr uint16, v []byte) error {
		switch {
		case attr == nl.TCA_U32_SEL:
			sel = v
		case attr == nl.TCA_U32_CLASSID && len(v) == 4:
			to = native.Uint32(v)
		}
		return nil
	})
	switch {
	case err != nil:
		return "", err
	case kind != kindU32:
		return fmt.Sprintf("pref %d, a %s", info>>16, kind), nil
	case sel == nil:
		return "", nil
	case len(sel) < nl.SizeofTcU32Sel || len(sel) < nl.SizeofTcU32Sel+int(sel[2])*nl.SizeofTcU32Key:
		return "", errors.New("its selector is cut short")
	}
	f := filter{ipv6: uint16(info) == network16(unix.ETH_P_IPV6)}
	for keys := sel[nl.SizeofTcU32Sel:]; len(keys) >= nl.SizeofTcU32Key; keys = keys[nl.SizeofTcU32Key:] {
		k := filterKey{native.Uint32(keys[8:]), binary.BigEndian.Uint32(keys), binary.BigEndian.Uint32(keys[4:])}
		if k.mask != 0 {
			f.keys = append(f.keys, k)
		}
	}
	return fmt.Sprintf("pref %d to %s: %s", info>>16, netlink.HandleStr(to), f), nil
}

// setFifo lets a band's packets pass as they are.
func (a *Applied) setFifo(e *end, l *leaf) error {
	q := rawQdisc{kind: kindFifo, handle: l.fifoHandle(), parent: l.parent(), options: words(fifoLimit)}
	if _, err := a.conn.setQdisc(e.index, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, q); err != nil {
		return fmt.Errorf("fifo on %s: %w", e.name, err)
	}
	had, err := a.conn.own(e.index, q.handle)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if had.kind != q.kind || had.parent != q.parent || !bytes.Equal(had.options, q.options) {
		return fmt.Errorf("the kernel did not take it as asked: asked for %s at %s (%x), the kernel has %s at %s (%x)",
			q.kind, netlink.HandleStr(q.parent), q.options, had.kind, netlink.HandleStr(had.parent), had.options)
	}
	l.plain = true
	return nil
}

package shaping

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Qdiscs without classes, whose options the kernel takes as it tells them.
var restorable = []string{"pfifo", "bfifo", "pfifo_fast", "fq_codel", "fq", "sfq", "cake", "codel", "tbf", "netem", "noqueue", "fq_pie", "pie", "red"}

// Look reads what target has, as far as link will touch it, and refuses what could
// not be restored. It changes nothing.
func Look(target Target, link Link, classes ...LinkClass) (f Found, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("shape %s: %w", target.Interface, err)
		}
	}()
	if !touches(link, classes, Down) && !touches(link, classes, Up) {
		return f, errors.New("there are no conditions to apply")
	}
	if target.Socket != nil && touches(link, classes, target.ingress()) {
		return f, fmt.Errorf("it is reached by a socket alone, and packets that arrive take an ioctl (for GRO): give conditions for %s alone", target.egress())
	}
	c, err := target.dial()
	if err != nil {
		return f, err
	}
	defer c.close()
	l, err := c.link(target.Interface)
	if err != nil {
		return f, err
	}
	a := l.Attrs()
	f = Found{Interface: a.Name, Index: a.Index, Kind: l.Type(), Egress: touches(link, classes, target.egress())}
	if a.Name == "lo" {
		f.Kind = "loopback"
	}
	all, err := c.qdiscs(a.Index)
	if err != nil {
		return f, err
	}
	if touches(link, classes, target.ingress()) {
		if f.Kind == "loopback" {
			return f, fmt.Errorf("lo's arriving packets are those it sent: give conditions for %s alone", target.egress())
		}
		f.IFB = ifbName(a.Index)
		if _, err := c.named(f.IFB); err == nil {
			return f, fmt.Errorf("%s is there already, from a run of understudy that was not cleaned up (hint: understudy shape clear %s)", f.IFB, a.Name)
		}
		if slices.ContainsFunc(all, func(q rawQdisc) bool { return q.kind == "ingress" || q.kind == "clsact" }) {
			return f, errors.New("it has an ingress qdisc, which another program owns: arriving packets cannot be shaped beside it" +
				" (hint: shape the direction that leaves alone, or the link's other end)")
		}
		if f.GRO, err = hasGRO(target); err != nil {
			return f, fmt.Errorf("read its GRO: %w", err)
		}
	}
	if f.Egress {
		if f.Root, err = rootOf(all); err != nil {
			return f, err
		}
		f.TxQLen = a.TxQLen
		if !target.KeepGSO && a.GSOMaxSegs > 1 {
			f.GSOMaxSegs = a.GSOMaxSegs
		}
	}
	return f, nil
}

// rootOf is the root qdisc, if it can be put back.
func rootOf(all []rawQdisc) (SavedQdisc, error) {
	var root rawQdisc
	for _, q := range all {
		if q.parent == netlink.HANDLE_ROOT {
			root = q
		}
	}
	switch {
	case root.handle == ownHandle:
		return SavedQdisc{}, errors.New("it is shaped by understudy already (hint: understudy shape clear takes it off)")
	case root.handle == 0: // the kernel's choice, which comes back by itself
		return SavedQdisc{}, nil
	case !slices.Contains(restorable, root.kind):
		return SavedQdisc{}, fmt.Errorf("it has a %s with classes, which could not be put back as it was (hint: remove it first, tc qdisc del dev … root, and set it again afterwards)", root.kind)
	}
	for _, q := range all {
		if q.parent != netlink.HANDLE_ROOT && q.parent>>16 == root.handle>>16 {
			return SavedQdisc{}, fmt.Errorf("its %s has a %s in it, and both could not be put back as they were (hint: remove them first, and set them again afterwards)", root.kind, q.kind)
		}
	}
	if root.kind == kindNetem {
		if c, err := Decode(root.options); err == nil && c.Jitter > 0 {
			return SavedQdisc{}, errors.New("it has a netem with jitter, whose distribution the kernel does not tell: it could not be put back as it was (hint: remove it first)")
		}
	}
	return SavedQdisc{Kind: root.kind, Handle: root.handle, Options: root.options}, nil
}

// divert leads what arrives at l through an ifb of our own and returns its index. The
// ingress qdisc comes first: where there is no ifb, removeIngress knows that an
// ingress qdisc is another's.
func (c *conn) divert(l netlink.Link, f Found) (int, error) {
	ingress := rawQdisc{kind: "ingress", handle: ingressHandle, parent: netlink.HANDLE_INGRESS}
	if _, err := c.setQdisc(l.Attrs().Index, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ingress); err != nil {
		return 0, fmt.Errorf("add an ingress qdisc (hint: sudo modprobe sch_ingress): %w", err)
	}
	ifb := &netlink.Ifb{LinkAttrs: netlink.NewLinkAttrs()}
	ifb.Name = f.IFB
	if err := c.links.LinkAdd(ifb); err != nil {
		return 0, errors.Join(fmt.Errorf("add %s (hint: sudo modprobe ifb): %w", f.IFB, err),
			c.delQdisc(l.Attrs().Index, ingressHandle, netlink.HANDLE_INGRESS))
	}
	made, err := c.named(f.IFB)
	if err != nil {
		return 0, err
	}
	if err := c.links.LinkSetUp(made); err != nil {
		return 0, fmt.Errorf("set %s up: %w", f.IFB, err)
	}
	// A u32 without a selector matches everything.
	filter := &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: ingress.handle, Priority: 1, Protocol: unix.ETH_P_ALL},
		Actions:     []netlink.Action{netlink.NewMirredAction(made.Attrs().Index)},
	}
	if err := c.links.FilterAdd(filter); err != nil {
		return 0, fmt.Errorf("lead arriving packets to %s (hint: sudo modprobe -a cls_u32 act_mirred): %w", f.IFB, err)
	}
	return made.Attrs().Index, nil
}

// ingressHandle is that of every ingress qdisc.
const ingressHandle = 0xffff << 16

// restore puts back what was found, as far as something of ours is there. It may be
// called by another process than the one that shaped, and at any point of its work.
func (c *conn) restore(t Target, f Found) error {
	l, err := c.named(f.Interface)
	if errors.Is(err, unix.ENODEV) || err == nil && l.Attrs().Index != f.Index {
		l = nil // the interface is gone, and all that was on it
	} else if err != nil {
		return fmt.Errorf("restore %s: %w", f.Interface, err)
	}
	var errs []error
	try := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("restore %s: %s: %w", f.Interface, what, err))
		}
	}
	if f.IFB != "" {
		if l != nil {
			try("remove the ingress qdisc", c.removeIngress(l, f))
		}
		if ifb, err := c.named(f.IFB); err == nil {
			try("remove "+f.IFB, c.links.LinkDel(ifb))
		}
		if f.GRO && l != nil {
			try("switch on GRO", setGRO(t, true))
		}
	}
	if f.Egress && l != nil {
		try("put back the root qdisc", c.restoreRoot(f))
		if l.Attrs().TxQLen != f.TxQLen && f.TxQLen >= 0 {
			try("put back txqueuelen", c.setLink(f.Index, unix.IFLA_TXQLEN, uint32(f.TxQLen)))
		}
		if f.GSOMaxSegs != 0 {
			try("put back gso_max_segs", c.setLink(f.Index, unix.IFLA_GSO_MAX_SEGS, f.GSOMaxSegs))
		}
	}
	return errors.Join(errs...)
}

// removeIngress takes off the ingress qdisc if it is ours: it leads to our ifb, or
// nowhere yet while our ifb is there.
func (c *conn) removeIngress(l netlink.Link, f Found) error {
	all, err := c.qdiscs(f.Index)
	if err != nil {
		return err
	}
	ifb, err := c.named(f.IFB)
	if err != nil || !slices.ContainsFunc(all, func(q rawQdisc) bool { return q.kind == "ingress" }) {
		return nil
	}
	filters, err := c.links.FilterList(l, ingressHandle)
	if err != nil {
		return err
	}
	ours := len(filters) == 0
	for _, filter := range filters {
		u, ok := filter.(*netlink.U32)
		ours = ours || ok && slices.ContainsFunc(u.Actions, func(a netlink.Action) bool {
			m, ok := a.(*netlink.MirredAction)
			return ok && m.Ifindex == ifb.Attrs().Index
		})
	}
	if !ours {
		return nil
	}
	return c.delQdisc(f.Index, ingressHandle, netlink.HANDLE_INGRESS)
}

func (c *conn) restoreRoot(f Found) error {
	all, err := c.qdiscs(f.Index)
	if err != nil {
		return err
	}
	isRoot := func(q rawQdisc) bool { return q.parent == netlink.HANDLE_ROOT }
	i := slices.IndexFunc(all, isRoot)
	ours := i >= 0 && all[i].handle == ownHandle
	if !ours && (i >= 0 && all[i].handle != 0 || f.Root.Kind != kindNetem) {
		return nil // not ours: not yet, not any more, or somebody else's since
	}
	if ours {
		if err := c.delQdisc(f.Index, ownHandle, netlink.HANDLE_ROOT); err != nil {
			return err
		}
	}
	if f.Root.Kind == "" {
		return nil
	}
	back := rawQdisc{kind: f.Root.Kind, handle: f.Root.Handle, parent: netlink.HANDLE_ROOT, options: f.Root.Options}
	if _, err := c.setQdisc(f.Index, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, back); err != nil {
		return err
	}
	if all, err = c.qdiscs(f.Index); err != nil {
		return err
	}
	i = slices.IndexFunc(all, isRoot)
	if i < 0 || all[i].kind != back.kind || all[i].handle != back.handle || !sameOptions(back, all[i]) {
		return fmt.Errorf("the kernel has another %s than before", f.Root.Kind)
	}
	return nil
}

// sameOptions compares what the kernel tells of a qdisc; of a netem without the
// generator's seed, which is a new one each time. Single values may differ by 2: some
// qdiscs keep times in units of their own, codel's of 1.024 µs, and round down each way.
func sameOptions(a, b rawQdisc) bool {
	if a.kind == kindNetem {
		x, errX := Decode(a.options)
		y, errY := Decode(b.options)
		x.Seed = 0
		return errX == nil && errY == nil && len(Difference(x, y)) == 0
	}
	x, y := map[uint16][]byte{}, map[uint16][]byte{}
	into := func(m map[uint16][]byte) func(uint16, []byte) error {
		return func(kind uint16, v []byte) error { m[kind] = v; return nil }
	}
	if eachAttr(a.options, into(x)) != nil || eachAttr(b.options, into(y)) != nil {
		return bytes.Equal(a.options, b.options) // a plain struct, as pfifo's
	}
	return maps.EqualFunc(x, y, func(v, w []byte) bool {
		if len(v) == 4 && len(w) == 4 {
			return int64(native.Uint32(v))-int64(native.Uint32(w)) <= 2 && int64(native.Uint32(w))-int64(native.Uint32(v)) <= 2
		}
		return bytes.Equal(v, w)
	})
}

// RestoreFound is Restore for another process than the one that shaped.
func RestoreFound(t Target, f Found) error {
	c, err := t.dial()
	if err != nil {
		return err
	}
	defer c.close()
	return c.restore(t, f)
}

// Sweep takes off what understudy left on an interface of which nothing is written
// down: what it had before is not known, so that the kernel's defaults come back. It reports whether
// something was there.
func Sweep(t Target) (swept bool, err error) {
	c, err := t.dialNamespace()
	if err != nil {
		return false, err
	}
	defer c.close()
	l, err := c.link(t.Interface)
	if err != nil {
		return false, fmt.Errorf("sweep %s: %w", t.Interface, err)
	}
	f := Found{Interface: t.Interface, Index: l.Attrs().Index, TxQLen: l.Attrs().TxQLen}
	all, err := c.qdiscs(f.Index)
	if err != nil {
		return false, err
	}
	f.Egress = slices.ContainsFunc(all, func(q rawQdisc) bool { return q.handle == ownHandle && q.parent == netlink.HANDLE_ROOT })
	if f.Egress && l.Attrs().GSOMaxSegs == 1 {
		f.GSOMaxSegs = gsoDefault
	}
	if _, err := c.named(ifbName(f.Index)); err == nil {
		f.IFB, f.GRO = ifbName(f.Index), true
	}
	if !f.Egress && f.IFB == "" {
		return false, nil
	}
	return true, c.restore(t, f)
}

// gsoDefault is the kernel's GSO_MAX_SEGS, which few drivers lower.
const gsoDefault = 65535

package shaping

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ownHandle is the handle of qdiscs that understudy makes, by which a sweep knows
// them again: 7573:, "us" in ASCII. tc and the kernel hand out 8001: and up, people
// write small numbers.
const ownHandle = 0x7573 << 16

// Applied is a link that is in force on a target. Its methods may be called from
// several goroutines.
type Applied struct {
	target  Target
	found   Found
	classes []LinkClass

	mu       sync.Mutex
	conn     *conn // nil once restored
	ends     map[Direction]*end
	findings []Finding
}

// end is where one direction's queues sit.
type end struct {
	index   int // of the interface: the target's own, or the ifb's
	name    string
	leaves  []*leaf // the link's own last
	planted bool    // what leads to the leaves is there, where there are classes
}

// own is the link's own queue.
func (e *end) own() *leaf { return e.leaves[len(e.leaves)-1] }

// Apply puts link on target and verifies, by reading back, that it is there: any
// difference between what was asked and what the kernel has is an error that names
// the condition, and what stood before is back. A direction without conditions is left
// as it is. Nothing is done where what stands there could not be restored.
//
// classes, whose To may not be names (KernelClasses sees to it), have conditions of
// their own: a packet is the first one's that has its peer, and else the link's.
//
// It needs CAP_NET_ADMIN over the namespace. Whoever calls it ends with Restore.
func Apply(ctx context.Context, target Target, link Link, classes ...LinkClass) (*Applied, error) {
	found, err := Look(target, link, classes...)
	if err != nil {
		return nil, err
	}
	return applyOver(ctx, target, link, found, classes...)
}

// applyOver is Apply for who has written down before what was found, by Look.
func applyOver(ctx context.Context, target Target, link Link, found Found, classes ...LinkClass) (_ *Applied, err error) {
	a := &Applied{target: target, found: found, classes: classes, ends: map[Direction]*end{}}
	if a.conn, err = target.dial(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("shape %s: %w", target.Interface, err)
			if back := a.Restore(); back != nil {
				err = errors.Join(err, back)
			}
		}
	}()
	if err := a.prepare(); err != nil {
		return nil, err
	}
	if err := a.set(ctx, link, classes); err != nil {
		return nil, err
	}
	return a, nil
}

// prepare makes what netem will sit on.
func (a *Applied) prepare() error {
	l, err := a.conn.link(a.target.Interface)
	if err != nil {
		return err
	}
	if l.Attrs().Index != a.found.Index {
		return errors.New("the interface is another one than a moment ago")
	}
	if a.found.Egress {
		a.ends[a.target.egress()] = &end{index: a.found.Index, name: a.target.Interface, leaves: leavesOf(a.classes)}
		if a.found.Root.Kind == kindNetem {
			// A kernel that refuses duplication beside another netem counts the one that is replaced.
			if err := a.conn.delQdisc(a.found.Index, a.found.Root.Handle, netlink.HANDLE_ROOT); err != nil {
				return fmt.Errorf("take off its netem: %w", err)
			}
		}
		if a.found.GSOMaxSegs != 0 {
			if err := a.conn.setLink(a.found.Index, unix.IFLA_GSO_MAX_SEGS, 1); err != nil {
				return fmt.Errorf("set gso_max_segs: %w", err)
			}
		}
	}
	if a.found.IFB != "" {
		index, err := a.conn.divert(l, a.found)
		if err != nil {
			return err
		}
		a.ends[a.target.ingress()] = &end{index: index, name: a.found.IFB, leaves: leavesOf(a.classes)}
		if a.found.GRO {
			if err := setGRO(a.target, false); err != nil {
				return fmt.Errorf("switch off GRO: %w", err)
			}
		}
	}
	return nil
}

// Change puts other conditions in force without dropping a queued packet: the qdiscs
// stay and are changed in place. Only directions that were shaped from the start can
// be; conditions that are zero let packets pass as they are. Classes are the same ones as
// from the start, in order and with the same destinations. Only a class that has its first
// conditions by this, in a direction, gets another queue.
//
// The kernel starts its generator anew at each change, where it has a seed: each
// change gets one of its own, made of the given seed and the number of the change. The
// state of a loss with a memory starts as good.
//
// Queue after queue is changed, and none is put back where one then fails.
func (a *Applied) Change(ctx context.Context, link Link, classes ...LinkClass) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn == nil {
		return fmt.Errorf("change %s: it is restored already", a.target.Interface)
	}
	if !slices.EqualFunc(a.classes, classes, func(x, y LinkClass) bool { return x.Name == y.Name && slices.Equal(x.To, y.To) }) {
		return fmt.Errorf("change %s: its classes were others from the start", a.target.Interface)
	}
	for _, d := range []Direction{Down, Up} {
		if a.ends[d] == nil && touches(link, classes, d) {
			return fmt.Errorf("change %s: its %s direction was not shaped from the start", a.target.Interface, d)
		}
	}
	if err := a.set(ctx, link, classes); err != nil {
		return fmt.Errorf("change %s: %w", a.target.Interface, err)
	}
	return nil
}

func (a *Applied) set(ctx context.Context, link Link, classes []LinkClass) error {
	var findings []Finding
	for _, d := range []Direction{Down, Up} {
		e := a.ends[d]
		if e == nil {
			continue
		}
		if len(classes) > 0 && !e.planted {
			if err := a.conn.plant(e, d, classes); err != nil {
				return fmt.Errorf("%s: %w", d, err)
			}
			e.planted = true
		}
		for i, l := range e.leaves {
			wanted := link.Of(d)
			if l.class != "" {
				wanted = classes[i].Link.Of(d)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			more, err := a.setConditions(e, l, d, *wanted)
			if err != nil && l.class != "" {
				err = fmt.Errorf("class %s: %w", l.class, err)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", d, err)
			}
			findings = append(findings, more...)
		}
	}
	findings = append(findings, LintOn(link, a.found.about(a.target))...)
	for i := range classes {
		for _, f := range Lint(classes[i].Link) { // what is to say of the place is said
			f.Class = classes[i].Name
			findings = append(findings, f)
		}
	}
	a.findings = findings
	return nil
}

// setConditions checks what is wanted of a queue, and has it done.
func (a *Applied) setConditions(e *end, l *leaf, d Direction, wanted Conditions) (findings []Finding, err error) {
	if name, p := wanted.conflict(); p != nil {
		return nil, fmt.Errorf("%s: %w", name, p)
	}
	if name := wanted.Beyond(); name != "" {
		return nil, fmt.Errorf("%s: want conditions that netem has, and it plays no traces back\nhint: a captured command's link can have them: --link-engine tun", name)
	}
	if l.band >= 0 && wanted.IsZero() && l.changes == 0 {
		if l.plain {
			return nil, nil
		}
		return nil, a.setFifo(e, l)
	}
	c, how := wanted.Resolve()
	if how != "" {
		findings = append(findings, Finding{Class: l.class, Direction: d, Name: "limit", Level: Note, Text: how})
	}
	more, err := a.setLeaf(e, l, d, c)
	return append(findings, more...), err
}

// setLeaf sends conditions, reads them back and compares.
func (a *Applied) setLeaf(e *end, l *leaf, d Direction, c Conditions) ([]Finding, error) {
	table, slotTable := c.Distribution, c.Slot.Distribution
	if c.Seed != 0 && l.changes > 0 {
		c.Seed = mix(c.Seed, l.changes)
	}
	s := &c.Slot
	if l.slotTable && s.DistJitter == 0 && s.MaxDelay > s.MinDelay {
		*s = Slot{DistDelay: (s.MinDelay + s.MaxDelay) / 2, DistJitter: (s.MaxDelay - s.MinDelay) / 2, Packets: s.Packets, Bytes: s.Bytes}
	} else if l.slotTable && s.DistJitter == 0 && s.MinDelay > 0 {
		return nil, errors.New("slot: a pause of one length cannot follow pauses from a distribution in place: give it a range, such as slot=10ms/10.001ms")
	}
	want, data, err := c.wire()
	if err != nil {
		return nil, err
	}
	flags := 0
	if l.changes == 0 {
		flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	l.slotTable = l.slotTable || s.DistJitter > 0
	l.changes++
	q := rawQdisc{kind: kindNetem, handle: l.handle(), parent: l.parent(), options: data}
	warnings, err := a.conn.setQdisc(e.index, flags, q)
	if err != nil {
		return nil, explainNetem(err, e.name, a.duplicates(c))
	}
	var findings []Finding
	for _, w := range warnings {
		findings = append(findings, Finding{Class: l.class, Direction: d, Level: Note, Text: "the kernel says: " + w})
	}
	had, err := a.readBack(e, l)
	if err != nil {
		return nil, err
	}
	if want.Seed != 0 && had.Seed == 0 {
		want.Seed = 0
		findings = append(findings, Finding{Class: l.class, Direction: d, Name: "seed", Level: Warning,
			Text: "this kernel ignores netem's seed (it wants Linux 6.6): random decisions differ from run to run"})
	}
	if diff := Difference(want, had); len(diff) > 0 {
		return nil, fmt.Errorf("the kernel did not take it as asked: %s", strings.Join(diff, "; "))
	}
	l.plain = false
	l.now = want
	l.now.Distribution, l.now.Slot.Distribution = table, slotTable
	return findings, nil
}

// readBack is what the kernel has.
func (a *Applied) readBack(e *end, l *leaf) (Conditions, error) {
	q, err := a.conn.own(e.index, l.handle())
	if err != nil {
		return Conditions{}, fmt.Errorf("read back: %w", err)
	}
	if q.kind != kindNetem || q.parent != l.parent() {
		return Conditions{}, fmt.Errorf("read back: want a netem at %s, the kernel has a %s at %s", netlink.HandleStr(l.parent()), q.kind, netlink.HandleStr(q.parent))
	}
	c, err := Decode(q.options)
	if err != nil {
		return Conditions{}, fmt.Errorf("read back: %w", err)
	}
	return c, nil
}

// own finds understudy's qdisc with a handle on an interface.
func (c *conn) own(index int, handle uint32) (rawQdisc, error) {
	all, err := c.qdiscs(index)
	if err != nil {
		return rawQdisc{}, err
	}
	for _, q := range all {
		if q.handle == handle {
			return q, nil
		}
	}
	return rawQdisc{}, fmt.Errorf("qdisc %s is not there any more", netlink.HandleStr(handle))
}

// Counters reads what each shaped direction has counted and holds: of what belongs to
// no class.
func (a *Applied) Counters() (map[Direction]Counters, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn == nil {
		return nil, fmt.Errorf("counters of %s: it is restored already", a.target.Interface)
	}
	out := map[Direction]Counters{}
	for d, e := range a.ends {
		q, err := a.conn.own(e.index, e.own().inForce())
		if err != nil {
			return nil, fmt.Errorf("counters of %s: %w", a.target.Interface, err)
		}
		out[d] = q.counters
	}
	return out, nil
}

// Conditions are what is in force in each shaped direction for what belongs to no class: resolved, in the kernel's
// units, and without a seed where the kernel has none.
func (a *Applied) Conditions() map[Direction]Conditions {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[Direction]Conditions{}
	for d, e := range a.ends {
		out[d] = e.own().now
	}
	return out
}

// Findings are what there is to say about the conditions in force: how a limit was
// chosen, what the kernel remarked, and what Lint finds.
func (a *Applied) Findings() []Finding {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Finding(nil), a.findings...)
}

// Restore puts back what stood there. Packets that are held are lost. Called again
// it does nothing.
func (a *Applied) Restore() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn == nil {
		return nil
	}
	c := a.conn
	a.conn = nil
	defer c.close()
	return c.restore(a.target, a.found)
}

// drop lets go of the link without restoring it.
func (a *Applied) drop() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil {
		a.conn.close()
		a.conn = nil
	}
	return nil
}

// explainNetem adds the remedy to the kernel's refusals that have one.
func explainNetem(err error, link string, duplicates bool) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w (hint: sudo modprobe sch_netem%s): %w", ErrNoNetem, moreModules, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("want the right to change links (hint: run as root, or with CAP_NET_ADMIN): %w", err)
	case errors.Is(err, unix.EINVAL) && duplicates:
		return fmt.Errorf("netem on %s (hint: one that duplicates forbids any other netem on the same interface, also another class's): %w", link, err)
	}
	return fmt.Errorf("netem on %s: %w", link, err)
}

// duplicates reports whether c does, or what is in force beside it.
func (a *Applied) duplicates(c Conditions) bool {
	for _, e := range a.ends {
		if slices.ContainsFunc(e.leaves, func(l *leaf) bool { return l.now.Duplicate > 0 }) {
			return true
		}
	}
	return c.Duplicate > 0
}

// mix makes a seed for the n-th change: SplitMix64's step, as published by
// Steele, Lea and Flood (2014). Never 0.
func mix(seed, n uint64) uint64 {
	z := seed + n*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return max(z^z>>31, 1)
}

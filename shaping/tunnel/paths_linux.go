package tunnel

import (
	"net/netip"
	"slices"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/emulator"
)

// path is the way of one class in one direction: what it holds, and what it does to it.
type path struct {
	name string // "" for what belongs to no class
	to   []shaping.Destination
	e    *emulator.Emulator[piece]
}

// paths tell which way a packet goes. They belong to a pump, and are not safe for
// concurrent use.
type paths struct {
	fromUser bool // the packets' sender is the user
	names    Names
	own      *path
	classes  []*path // in order; the first one that has the peer takes the flow
	leaving  []*path // of classes that are no more, while they hold packets
	probed   *path   // the way of ICMP; nil where that has none of its own

	// moved are flows that were put into a class. They stay there until a connection with
	// the same ports begins, or they have ended and were not seen for long: an end still
	// has its data to send.
	moved   map[flow]*moved
	sweepAt int // how many there are when those that lingered are looked for next
	// found is which class a flow's peer is of. It is kept, because to look for a name
	// takes longer than a packet should.
	found map[flow]*path
}

// moved is what is known of a flow that was put into a class.
type moved struct {
	path  *path  // nil until there is the class
	class string // its name
	ended bool
	seen  time.Duration // when it last had a packet, or ended
}

const (
	// mostFound bounds the memory of what is kept: some MiB.
	mostFound = 1 << 15
	// lingers is how long a connection that has ended may send again what was lost. Source:
	// tcp_retries2 takes minutes at most once the socket is closed (tcp_orphan_retries).
	lingers = 2 * time.Minute
	// leastSweep is how many moved flows there are before those that lingered are looked for.
	leastSweep = 1 << 10
)

func newPaths(fromUser bool, names Names) paths {
	return paths{fromUser: fromUser, names: names, own: newPath(""), moved: map[flow]*moved{}, sweepAt: leastSweep, found: map[flow]*path{}}
}

func newPath(name string) *path {
	return &path{name: name, e: emulator.New[piece](shaping.Conditions{}, 0)}
}

// each visits the ways that may hold packets.
func (p *paths) each(visit func(*path)) {
	visit(p.own)
	for _, c := range p.classes {
		visit(c)
	}
	for _, c := range p.leaving {
		visit(c)
	}
}

// set makes the classes those that are given. One whose name stays keeps its packets, its
// decisions and the flows that were put into it.
func (p *paths) set(classes []shaping.LinkClass) {
	same := slices.EqualFunc(p.classes, classes, func(a *path, b shaping.LinkClass) bool {
		return a.name == b.Name && slices.Equal(a.to, b.To)
	})
	if same {
		return
	}
	before := append(p.classes, p.leaving...)
	p.classes = nil
	for _, c := range classes {
		i := slices.IndexFunc(before, func(old *path) bool { return old.name == c.Name })
		one := newPath(c.Name)
		if i >= 0 {
			one = before[i]
			before = slices.Delete(before, i, i+1)
		}
		one.to = c.To
		p.classes = append(p.classes, one)
	}
	p.leaving = before
	for k, m := range p.moved {
		switch {
		case m.path == nil:
			m.path = p.class(m.class)
		case slices.Contains(p.leaving, m.path):
			delete(p.moved, k)
		}
	}
	if p.probed != nil && slices.Contains(p.leaving, p.probed) {
		p.probed = nil
	}
	clear(p.found)
}

// class is the way of a class by its name; nil for none.
func (p *paths) class(name string) *path {
	for _, c := range p.classes {
		if c.name == name {
			return c
		}
	}
	return nil
}

// of is the way of a frame that came at a moment.
func (p *paths) of(f *frame, now time.Duration) *path {
	if len(p.classes) == 0 {
		return p.own
	}
	k, begins, ok := f.flow(p.fromUser)
	if !ok {
		return p.own
	}
	if k.proto == protoICMP && p.probed != nil {
		return p.probed
	}
	if begins {
		delete(p.moved, k)
	}
	if m := p.moved[k]; m != nil && m.path != nil {
		m.seen = now
		return m.path
	}
	if one := p.found[k]; one != nil {
		return one
	}
	one := p.look(k)
	if len(p.found) >= mostFound {
		clear(p.found)
	}
	p.found[k] = one
	return one
}

// look finds the class that has a flow's peer.
func (p *paths) look(k flow) *path {
	addr := k.addr()
	name, asked := "", false
	for _, c := range p.classes {
		for _, d := range c.to {
			if d.Named() && !asked {
				name, asked = p.nameOf(addr), true
			}
			if d.Matches(addr, k.peerPort, name) {
				return c
			}
		}
	}
	return p.own
}

func (p *paths) nameOf(addr netip.Addr) string {
	if p.names == nil {
		return ""
	}
	name, _ := p.names(addr)
	return name
}

// move puts a flow into a class, at once or as soon as there is one of that name; false
// where it was put there already.
func (p *paths) move(k flow, class string, now time.Duration) bool {
	if m := p.moved[k]; m != nil && m.class == class && !m.ended {
		m.seen = now
		return false
	}
	if len(p.moved) >= p.sweepAt {
		p.sweep(now)
	}
	p.moved[k] = &moved{path: p.class(class), class: class, seen: now}
	return true
}

// sweep forgets flows that have ended long ago.
func (p *paths) sweep(now time.Duration) {
	for k, m := range p.moved {
		if m.ended && now-m.seen > lingers {
			delete(p.moved, k)
		}
	}
	p.sweepAt = max(leastSweep, 2*len(p.moved))
}

// end tells that a flow has ended: nothing new is sent.
func (p *paths) end(k flow, now time.Duration) {
	if m := p.moved[k]; m != nil {
		m.ended, m.seen = true, now
	}
}

// next is when the next packet is due; false where none is held.
func (p *paths) next() (at time.Duration, ok bool) {
	p.each(func(one *path) {
		if due, holds := one.e.Next(); holds && (!ok || due < at) {
			at, ok = due, true
		}
	})
	return at, ok
}

// left forgets ways of former classes that hold nothing any more.
func (p *paths) left() {
	if len(p.leaving) > 0 {
		p.leaving = slices.DeleteFunc(p.leaving, func(one *path) bool { _, holds := one.e.Next(); return !holds })
	}
}

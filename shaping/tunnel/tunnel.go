package tunnel

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/understudy-proxy/understudy/shaping"
)

// Seeds is the seed of a class's chances in a direction, where its conditions have none.
// The link itself is the class "".
type Seeds func(class string, d shaping.Direction) uint64

// Names is what the link's user calls an address, in lower case; not ok where it has no
// name. One that was given does not change.
type Names func(netip.Addr) (name string, ok bool)

// Link is a link of which this process carries the packets, under conditions. Its
// methods may be called from several goroutines.
type Link struct {
	seeds     Seeds
	down, up  *pump
	mu        sync.Mutex
	findings  []shaping.Finding
	resolved  shaping.Link
	classes   []shaping.LinkClass        // resolved
	shaped    map[shaping.Direction]bool // it has or had conditions
	closeOnce sync.Once
}

// pumps are the link's two, by what they carry.
func (l *Link) pumps() map[shaping.Direction]*pump {
	return map[shaping.Direction]*pump{shaping.Down: l.down, shaping.Up: l.up}
}

// Change puts other conditions in force for the packets that come from now on: the link's
// own, and its classes, with theirs. Those that are held are not dropped, and keep their
// moments. A class is known by its name: what was put into one that stays stays there, what
// was in one that is left out goes by its peer again.
func (l *Link) Change(_ context.Context, link shaping.Link, classes ...shaping.LinkClass) error {
	resolved, findings, err := l.resolve("", link)
	if err != nil {
		return err
	}
	findings = append(findings, shaping.LintPlain(link)...)
	classes = slices.Clone(classes)
	for i := range classes {
		c := &classes[i]
		how, more := c.Link, []shaping.Finding(nil)
		if c.Link, more, err = l.resolve(c.Name, how); err != nil {
			return fmt.Errorf("class %s: %w", c.Name, err)
		}
		for _, f := range append(more, shaping.LintPlain(how)...) {
			f.Class = c.Name
			findings = append(findings, f)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.findings, l.resolved, l.classes = findings, resolved, classes
	for d, p := range l.pumps() {
		l.shaped[d] = l.shaped[d] || !resolved.Of(d).IsZero()
		p.change(*resolved.Of(d), classes, d, l.seeds)
	}
	return nil
}

// resolve is what is in force of what a class, or the link itself, is asked for.
func (l *Link) resolve(class string, link shaping.Link) (resolved shaping.Link, findings []shaping.Finding, err error) {
	for _, d := range []shaping.Direction{shaping.Down, shaping.Up} {
		asked := link.Of(d)
		if err := asked.Check(); err != nil {
			return resolved, nil, fmt.Errorf("%s: %w", d, err)
		}
		if asked.IsZero() {
			continue
		}
		c, how := asked.Resolve()
		if c.Seed == 0 && c.Random() {
			c.Seed = l.seeds(class, d)
		}
		if how != "" {
			findings = append(findings, shaping.Finding{Direction: d, Name: "limit", Level: shaping.Note, Text: how})
		}
		*resolved.Of(d) = c
	}
	return resolved, findings, nil
}

// Move puts a connection into a class, from its next packets on, in both directions, until
// it ends or is moved again. Where there is no such class it is moved once there is: a rule
// may be live a moment before the class that came with it. False says that it was moved
// there already.
func (l *Link) Move(f Flow, class string) bool {
	k := f.key()
	down, up := l.down.move(k, class), l.up.move(k, class)
	return down && up
}

// End tells that nothing new is sent on a connection that was moved. What is under way, or
// has to be sent again, still goes where it was moved to.
func (l *Link) End(f Flow) {
	k := f.key()
	l.down.end(k)
	l.up.end(k)
}

// Probe leads all ICMP through a class; "" lets it go by its peer again.
func (l *Link) Probe(class string) {
	l.down.probe(class)
	l.up.probe(class)
}

// Restart begins anew with the conditions in force: the decisions about packets to come,
// traces and counters are those of a link through which nothing has passed yet.
func (l *Link) Restart() {
	for _, p := range l.pumps() {
		p.restart()
	}
}

// Counters are what each direction of the link itself has counted since the beginning, and
// holds now: what belongs to classes is not in it. The bytes are those of Ethernet frames,
// as a qdisc counts them.
func (l *Link) Counters() (map[shaping.Direction]shaping.Counters, error) { return l.count(""), nil }

// ClassCounters are likewise those of each class that there is.
func (l *Link) ClassCounters() map[string]map[shaping.Direction]shaping.Counters {
	out := map[string]map[shaping.Direction]shaping.Counters{}
	for _, c := range l.Classes() {
		out[c.Name] = l.count(c.Name)
	}
	return out
}

func (l *Link) count(class string) map[shaping.Direction]shaping.Counters {
	out := map[shaping.Direction]shaping.Counters{}
	for d, p := range l.pumps() {
		out[d] = p.counters(class)
	}
	return out
}

// Classes are the link's, with their conditions as they are in force, resolved and with
// their seed.
func (l *Link) Classes() []shaping.LinkClass {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.classes)
}

// Conditions are what is in force, resolved and with their seed. A direction that never
// had any is missing.
func (l *Link) Conditions() map[shaping.Direction]shaping.Conditions {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[shaping.Direction]shaping.Conditions{}
	for _, d := range []shaping.Direction{shaping.Down, shaping.Up} {
		if l.shaped[d] {
			out[d] = *l.resolved.Of(d)
		}
	}
	return out
}

// Findings are what there is to say about the conditions in force.
func (l *Link) Findings() []shaping.Finding {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]shaping.Finding(nil), l.findings...)
}

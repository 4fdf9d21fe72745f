package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/timeline"
	"github.com/understudy-proxy/understudy/shaping/tunnel"
	"github.com/understudy-proxy/understudy/shaping/verify"
)

// directions are a link's, in the order in which they are told.
var directions = []shaping.Direction{shaping.Down, shaping.Up}

// linkOf reads what the configuration wants of the link: both, and down and up, which
// win. The zero value is that it wants nothing. Errors are place errors.
func linkOf(c *config.Config) (shaping.Link, error) {
	var l shaping.Link
	if c.Link.Both.IsZero() && c.Link.Down.IsZero() && c.Link.Up.IsZero() {
		return l, nil // and the book, which takes milliseconds to open, stays closed
	}
	b, err := shaping.NewBook()
	if err != nil {
		return l, err
	}
	var errs place.List
	var last config.Section
	for _, part := range []struct {
		section config.Section
		set     func(shaping.Link)
	}{
		{c.Link.Both, func(m shaping.Link) { l = m }},
		{c.Link.Down, func(m shaping.Link) { l.Down = m.Down }},
		{c.Link.Up, func(m shaping.Link) { l.Up = m.Up }},
	} {
		if part.section.IsZero() {
			continue
		}
		last = part.section
		m, err := b.Read(part.section.File, part.section.Node)
		if err != nil {
			errs = append(errs, part.section.File.Wrap(err))
			continue
		}
		part.set(m)
	}
	if len(errs) == 0 && !last.IsZero() && l.IsZero() && c.Link.Steps.IsZero() {
		errs = append(errs, last.File.AtNode(last.Node, "a SPEC such as lte, or delay=40ms,loss=0.5%; without one the link is left alone",
			"link: there are no conditions"))
	}
	return l, errs.Err()
}

// timelineOf reads what the configuration wants of the link, and how that changes during
// the run; nil where it wants nothing. Errors are place errors.
func timelineOf(c *config.Config, seed uint64) (*timeline.Timeline, error) {
	base, err := linkOf(c)
	classes, err2 := classesOf(c)
	if err != nil || err2 != nil {
		return nil, joinPlaces(joinPlaces(nil, place.NewFile("link", nil), err), place.NewFile("link", nil), err2)
	}
	var steps []timeline.Step
	if list := c.Link.Steps; !list.IsZero() {
		b, err := shaping.NewBook()
		if err != nil {
			return nil, err
		}
		if steps, err = timeline.Read(b, list.File, list.Node); err != nil {
			return nil, err
		}
	}
	if base.IsZero() && len(steps) == 0 && len(classes) == 0 {
		return nil, nil
	}
	plan, err := timeline.New(base, steps, seed, classes...)
	if err == nil && c.Link.Engine == config.EngineNetem && len(classes) > 0 {
		return nil, place.List{noClassesInNetem(&c.Link)}
	}
	return plan, err
}

// readLink reads the link's conditions and refuses them where there is no link to be
// shaped: that of a command which is captured in a namespace.
func (p *parts) readLink() error {
	plan, err := timelineOf(p.c, p.seed)
	if err != nil {
		return BadInput(err)
	}
	p.hasLink = plan != nil
	if p.c.Link.Verify && !p.hasLink {
		return Usage(errors.New("link.verify: there is no link to be verified\nhint: --link SPEC, --down SPEC or --up SPEC asks for one"))
	}
	p.linkPlan.Store(plan)
	p.linkSource = linkSource(&p.c.Link)
	p.linkIsNew = make(chan struct{}, 1)
	if p.hasLink && !p.captures() {
		return Usage(errors.New("link: only a command that is captured in a namespace has a link of its own\n" +
			"hint: a command behind --, and no listener or --capture namespace; understudy shape set shapes a link of this host"))
	}
	return nil
}

// inForce is a captured command's link while it is in force, whatever engine shapes it.
// Its methods may be called from several goroutines.
type inForce interface {
	// Change puts other conditions in force, in both directions, without dropping a
	// packet that is held: the link's own, and its classes, with theirs. A direction's
	// conditions that are zero let packets pass as they are.
	Change(ctx context.Context, link shaping.Link, classes ...shaping.LinkClass) error
	// Counters are what each direction has counted since the start, and holds now.
	Counters() (map[shaping.Direction]shaping.Counters, error)
	// Conditions are what is in force, as the engine resolved it. A direction that was
	// never shaped is missing.
	Conditions() map[shaping.Direction]shaping.Conditions
	// Classes are likewise the link's classes, with their conditions.
	Classes() []shaping.LinkClass
	// ClassCounters are what each class's directions have counted.
	ClassCounters() map[string]map[shaping.Direction]shaping.Counters
	// Findings are what there is to say about them.
	Findings() []shaping.Finding
}

// shaped is a captured command's link with what is told of it.
type shaped struct {
	inForce
	carried *tunnel.Link // the same, where this process carries the packets; else nil
	moved   moves        // by rules, into classes
	engine  config.LinkEngine
	why     string // the engine is that, in a sentence; "" where there is nothing to say
	held    held
	asked   linkAsked // what was to be in force at the start
	// verified is what probes found then; nil where none were sent.
	verified *verify.Report
	// past counts connections to the loopback, which has no link.
	past atomic.Int64
	// counted is what the ends had counted when the command had ended; nil before.
	counted atomic.Pointer[linkCounts]
}

// linkAsked is what a link and its classes are to do.
type linkAsked struct {
	link    shaping.Link
	classes []shaping.LinkClass
}

// linkCounts are what a link and, by name, its classes counted.
type linkCounts struct {
	link    map[shaping.Direction]shaping.Counters
	classes map[string]map[shaping.Direction]shaping.Counters
}

// shape puts the link's conditions in force, each direction at the end that sends it.
// There is nothing to restore: both ends vanish with the command's namespaces.
//
// The error is shaping.ErrNoNetem where the kernel was to shape it and cannot.
func (p *parts) shape(ctx context.Context, g *gateway.Gateway) error {
	if !p.hasLink {
		return nil
	}
	s := &shaped{engine: config.EngineNetem}
	s.held = held{start: p.start, plan: &p.linkPlan, isNew: p.linkIsNew, tell: p.tellChange}
	link, state, now := s.held.first()
	hint := "\nhint: understudy doctor --require netem tells what this machine lacks, --link-engine tun does without; the command was not started"
	if g.Up().Device == nil {
		s.inForce = newNetemLink(g, p.seed)
	} else {
		l, err := tunnel.Open(g.Down().Device, g.Up().Device, func(class string, d shaping.Direction) uint64 { return classSeed(p.seed, class, d) }, g.Name)
		if err != nil {
			return fmt.Errorf("link: %w", err)
		}
		defer p.carry(l) // also where it gets no conditions: it gives back what it holds
		s.inForce, s.carried, s.engine, s.why, hint = l, l, config.EngineTUN, p.whyCarried(g.Up().Device), ""
	}
	s.held.link, s.asked = s.inForce, linkAsked{link, state.Classes}
	if err := s.inForce.Change(ctx, link, state.Classes...); err != nil {
		return fmt.Errorf("link: %w%s", err, hint)
	}
	p.shaped = s
	p.shapedNow.Store(s)
	p.tellLink(g)
	s.held.note(state, now)
	return nil
}

// whyCarried says why understudy carries the packets, and how.
func (p *parts) whyCarried(device *os.File) string {
	how := "understudy carries the packets itself, " + carriedBy(device)
	switch {
	case p.c.Link.Engine == config.EngineTUN:
		return how
	case len(p.linkPlan.Load().Classes()) > 0:
		return "netem has no classes: " + how
	case beyondNetem(p.linkPlan.Load()):
		return "netem plays no traces back: " + how
	}
	return "this kernel has no netem: " + how
}

// carriedBy says through what a link's end gives its packets.
func carriedBy(device *os.File) string {
	if info, err := device.Stat(); err == nil && info.Mode()&os.ModeSocket != 0 {
		return "through packet sockets"
	}
	return "through TUN devices"
}

// carries reports whether the link's packets are for this process to carry from the start.
func (p *parts) carries() bool {
	if !p.hasLink {
		return false
	}
	return p.c.Link.Engine == config.EngineTUN || p.c.Link.Engine == config.EngineAuto && beyondNetem(p.linkPlan.Load())
}

// beyondNetem reports whether a timeline ever has conditions that netem has not.
func beyondNetem(t *timeline.Timeline) bool {
	if len(t.Classes()) > 0 {
		return true
	}
	beyond := func(l shaping.Link) bool { return l.Down.Beyond() != "" || l.Up.Beyond() != "" }
	for i := range t.Steps() {
		if beyond(t.Alone(i)) {
			return true
		}
	}
	return beyond(t.Base())
}

// linkSeed is the seed of a direction's chances where none was given.
func linkSeed(root uint64, d shaping.Direction) uint64 {
	return timing.MixString(root, "link", string(d))
}

// classSeed is that of a class, or of the link itself, "".
func classSeed(root uint64, class string, d shaping.Direction) uint64 {
	if class == "" {
		return linkSeed(root, d)
	}
	return timing.MixString(root, "link class", class, string(d))
}

// linkEnd is a direction's end, as events tell of it.
type linkEnd struct {
	Interface  string `json:"interface"`
	Conditions string `json:"conditions"`
}

// tellLink says what is in force, and what there is to know about it.
func (p *parts) tellLink(g *gateway.Gateway) {
	fields := map[string]any{"engine": p.shaped.engine}
	log := []zap.Field{zap.String("engine", string(p.shaped.engine))}
	now := p.shaped.Conditions()
	for _, d := range directions {
		c, is := now[d]
		if !is {
			continue
		}
		end := linkEnd{g.Up().Name, c.String()}
		if d == shaping.Down {
			end.Interface = g.Down().Name
		}
		fields[string(d)] = end
		log = append(log, zap.String(string(d), end.Conditions))
	}
	findings := append([]shaping.Finding{}, p.shaped.Findings()...)
	if p.shaped.why != "" {
		findings = append(findings, shaping.Finding{Name: "engine", Level: shaping.Note, Text: p.shaped.why})
	}
	fields["findings"] = findings
	classes := p.shaped.Classes()
	if len(classes) > 0 {
		fields["classes"] = tellClasses(classes)
	}
	p.events.Note("link", "", fields)
	p.log.Info("the command's link is shaped", log...)
	for i := range classes {
		p.log.Info("link: class "+classes[i].Name, zap.Strings("to", toOf(&classes[i])),
			zap.String("down", orAsItIs(classes[i].Link.Down)), zap.String("up", orAsItIs(classes[i].Link.Up)))
	}
	for _, f := range findings {
		if f.Level == shaping.Warning {
			p.log.Warn("link: " + f.String())
		} else {
			p.log.Info("link: " + f.String())
		}
	}
}

// tellPast says once that a connection goes past the link, and counts it.
func (p *parts) tellPast(to string) {
	if p.shaped != nil && p.shaped.past.Add(1) == 1 {
		p.log.Warn("a connection to the loopback goes past the link and is not shaped", zap.String("to", to),
			zap.String("hint", "call the dependency by a name that is not localhost, and say where it is: upstream.connect_to"))
	}
}

// linkReport is the link's part of the report for scripts; nil for none.
func (p *parts) linkReport() map[string]any {
	if p.shaped == nil {
		return nil
	}
	out := map[string]any{"engine": p.shaped.engine, "past_link": p.shaped.past.Load()}
	if counted := p.shaped.counted.Load(); counted != nil {
		for d, c := range counted.link {
			out[string(d)] = c
		}
		if len(counted.classes) > 0 {
			out["classes"] = counted.classes
		}
	}
	if p.shaped.verified != nil {
		out["verified"] = p.shaped.verified
	}
	if passed := p.shaped.held.passages(); len(passed) > 0 {
		out["steps"] = passed
	}
	return out
}

// linkText is the link's part of the report for people.
func (p *parts) linkText() string {
	if p.shaped == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nlink (%s):\n", p.shaped.engine)
	counted, _ := p.shaped.counters() // they were read, or it was told why not
	tell := func(indent string, counted map[shaping.Direction]shaping.Counters) {
		for _, d := range directions {
			if c, ok := counted[d]; ok {
				fmt.Fprintf(&b, "%s%-4s  %d packets, %d bytes sent, %d dropped, %d still waiting\n", indent, d, c.SentPackets, c.SentBytes, c.Dropped, c.BacklogPackets)
			}
		}
	}
	tell("  ", counted.link)
	for _, name := range slices.Sorted(maps.Keys(counted.classes)) {
		fmt.Fprintf(&b, "  class %s", name)
		if n := p.shaped.moved.of(name); n > 0 {
			fmt.Fprintf(&b, ", into which rules put %s", plural(int(n), "connection"))
		}
		b.WriteString(":\n")
		tell("    ", counted.classes[name])
	}
	for _, s := range p.shaped.held.passages() {
		fmt.Fprintf(&b, "  step %s: %s, %.1f s in all, first at %.1f s\n", s.Name, plural(s.Times, "time"), s.Seconds, s.FirstAt)
	}
	if n := p.shaped.past.Load(); n > 0 {
		fmt.Fprintf(&b, "  %s to the loopback went past it\n", plural(int(n), "connection"))
	}
	return b.String()
}

package app

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/proxy/wire"
	"github.com/understudy-proxy/understudy/rules"
	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/timeline"
	"github.com/understudy-proxy/understudy/shaping/tunnel"
)

// classesOf reads which parts of the link have conditions of their own: those of link.to,
// and then those of link.classes. Errors are place errors.
func classesOf(c *config.Config) ([]shaping.LinkClass, error) {
	if len(c.Link.To) == 0 && c.Link.Classes.IsZero() {
		return nil, nil
	}
	b, err := shaping.NewBook()
	if err != nil {
		return nil, err
	}
	var errs place.List
	var all []shaping.LinkClass
	for _, s := range c.Link.To {
		one, err := b.ReadTo(s.File, s.Node)
		if err != nil {
			errs = append(errs, s.File.Wrap(err))
		}
		all = append(all, one)
	}
	if s := c.Link.Classes; !s.IsZero() {
		more, err := b.ReadClasses(s.File, s.Node)
		errs = joinPlaces(errs, s.File, err)
		all = append(all, more...)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return all, shaping.CheckClasses(all)
}

// joinPlaces adds an error that may be several; nil adds none.
func joinPlaces(errs place.List, f *place.File, err error) place.List {
	var list place.List
	switch {
	case err == nil:
		return errs
	case errors.As(err, &list):
		return append(errs, list...)
	}
	return append(errs, f.Wrap(err))
}

// unknownClass says that rules put connections into classes that the link does not have.
type unknownClass struct{ error }

func (e unknownClass) Unwrap() error { return e.error }

// knownClasses refuses rules that put connections into classes that a link does not have;
// plan is nil for no link.
func knownClasses(set *rules.Set, plan *timeline.Timeline) error {
	var names []string
	if plan != nil {
		names = shaping.ClassNames(plan.Classes())
	}
	var errs place.List
	for _, use := range set.ClassUses() {
		if hint := unknownHint(use.Class, names); hint != "" {
			errs = append(errs, use.Error(hint, "link: there is no class %q", use.Class))
		}
	}
	if len(errs) > 0 {
		return unknownClass{errs}
	}
	return nil
}

// unknownHint is what to do about a class that is none of those; "" where it is one.
func unknownHint(class string, names []string) string {
	for _, name := range names {
		if name == class {
			return ""
		}
	}
	switch near := place.Nearest(class, names); {
	case near != "":
		return fmt.Sprintf("did you mean %q?", near)
	case len(names) > 0:
		return "classes: " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("link.classes in the configuration declares them: - {name: %s, link: delay=80ms}", class)
}

// noClassesInNetem refuses classes where the kernel is to shape the link.
func noClassesInNetem(l *config.Link) *place.Error {
	for _, s := range append(append([]config.Section{}, l.To...), l.Classes) {
		if !s.IsZero() {
			return s.File.AtNode(place.Start(s.Node), "--link-engine tun, or auto, has them",
				"link: the engine netem has one link for all: no conditions for some destinations or rules alone")
		}
	}
	return nil
}

// move puts the connection of a request into a class, if that is a captured command's.
// That there is the class was known when the rules were read.
func (s *shaped) move(c *wire.Conn, class string) {
	if s == nil || s.carried == nil {
		return
	}
	if f, ok := flowOf(c); ok && s.carried.Move(f, class) {
		s.moved.add(class)
	}
}

// left tells that a connection has ended.
func (s *shaped) left(c *wire.Conn) {
	if s == nil || s.carried == nil || s.moved.none() {
		return
	}
	if f, ok := flowOf(c); ok {
		s.carried.End(f)
	}
}

// flowOf is a captured command's connection as its packets have it.
func flowOf(c *wire.Conn) (tunnel.Flow, bool) {
	if c.Door != doorOfCommand || c.Client == nil || c.Local == nil {
		return tunnel.Flow{}, false
	}
	user, err1 := netip.ParseAddrPort(c.Client.String())
	peer, err2 := netip.ParseAddrPort(c.Local.String())
	return tunnel.Flow{User: user, Peer: peer}, err1 == nil && err2 == nil && !peer.Addr().Unmap().IsLoopback()
}

// moves counts, by class, how often a rule put a connection into it.
type moves struct {
	mu sync.Mutex
	by map[string]uint64
}

func (m *moves) add(class string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by == nil {
		m.by = map[string]uint64{}
	}
	m.by[class]++
}

func (m *moves) of(class string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.by[class]
}

func (m *moves) none() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.by) == 0
}

// toldClass is a class, as events tell of it.
type toldClass struct {
	To   []string `json:"to"`
	Down string   `json:"down"` // conditions; "" for none
	Up   string   `json:"up"`
}

func tellClasses(all []shaping.LinkClass) map[string]toldClass {
	told := map[string]toldClass{}
	for i := range all {
		c := &all[i]
		told[c.Name] = toldClass{toOf(c), c.Link.Down.String(), c.Link.Up.String()}
	}
	return told
}

// toOf is where a class leads, as people write it.
func toOf(c *shaping.LinkClass) []string {
	to := []string{}
	for _, d := range c.To {
		to = append(to, d.String())
	}
	return to
}

func orAsItIs(c shaping.Conditions) string {
	if c.IsZero() {
		return "as it is"
	}
	return c.String()
}

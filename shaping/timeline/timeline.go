package timeline

import (
	"slices"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/shaping"
)

// Timeline is a link's conditions over the run's clock. It is immutable.
type Timeline struct {
	base    shaping.Link
	classes []shaping.LinkClass
	steps   []Step
	seed    uint64
}

// State is what a timeline has at an instant.
type State struct {
	Link shaping.Link
	// Classes are the link's, each with what it has of conditions; in order.
	Classes []shaping.LinkClass
	// Steps are those that last, in the order of the file.
	Steps []Share
}

// Same reports whether the same holds for all packets in two states.
func (s *State) Same(o *State) bool {
	return s.Link == o.Link && slices.EqualFunc(s.Classes, o.Classes, func(a, b shaping.LinkClass) bool {
		return a.Name == b.Name && a.Link == b.Link && slices.Equal(a.To, b.To)
	})
}

// Share is how much of a step is in force.
type Share struct {
	Name   string
	Weight float64 // 1 for all of it, less on a ramp
}

var directions = []shaping.Direction{shaping.Down, shaping.Up}

// New makes a timeline of conditions and the steps that are laid over them in order:
// of several that last at once each is laid over those before it, so that the later one
// wins, condition by condition. seed is the run's: what is drawn comes from it and from
// the steps' names. A step changes the link itself, or the classes that it names.
//
// Steps that ever make conditions that make no sense together are refused; the error is
// a place.List.
func New(base shaping.Link, steps []Step, seed uint64, classes ...shaping.LinkClass) (*Timeline, error) {
	t := &Timeline{base: base, classes: classes, steps: steps, seed: seed}
	if errs := t.check(); len(errs) > 0 {
		return nil, errs
	}
	return t, nil
}

// At is what the timeline has at an instant of the run's clock.
func (t *Timeline) At(at time.Duration) State {
	state := State{Link: t.base, Classes: slices.Clone(t.classes)}
	for i := range t.steps {
		s := &t.steps[i]
		w, lasts := s.window(t.seed, at)
		if !lasts {
			continue
		}
		x := s.weight(w, at)
		if s.of("") {
			s.lay(&state.Link, x)
		}
		for i := range state.Classes {
			if c := &state.Classes[i]; s.of(c.Name) {
				s.lay(&c.Link, x)
			}
		}
		state.Steps = append(state.Steps, Share{s.Name, x})
	}
	return state
}

// Next is the first instant after at at which the timeline may change; what At gives is
// the same until then. ok is false where it never changes again.
func (t *Timeline) Next(at time.Duration) (next time.Duration, ok bool) {
	next = timing.Endless
	for i := range t.steps {
		s := &t.steps[i]
		if w, lasts := s.window(t.seed, at); lasts {
			next = min(next, s.change(w, at))
		}
		next = min(next, s.next(t.seed, at))
	}
	return next, next < timing.Endless
}

// Touches reports whether a direction of the link itself ever has conditions.
func (t *Timeline) Touches(d shaping.Direction) bool {
	if !t.base.Of(d).IsZero() {
		return true
	}
	for i := range t.steps {
		if s := &t.steps[i]; s.of("") && s.Touches(d) {
			return true
		}
	}
	return false
}

// Base is what the link itself has where no step lasts.
func (t *Timeline) Base() shaping.Link { return t.base }

// Classes are the link's, in order, with what they have where no step lasts. The caller
// does not change them.
func (t *Timeline) Classes() []shaping.LinkClass { return t.classes }

// Steps are the steps in order. The caller does not change them.
func (t *Timeline) Steps() []Step { return t.steps }

// Alone is the link itself while no step but the i-th lasts.
func (t *Timeline) Alone(i int) shaping.Link { return t.steps[i].alone(t.base, "") }

// part is the link itself, or a class of it.
type part struct {
	name string // "" for the link itself
	base shaping.Link
}

// parts are the link itself and then its classes.
func (t *Timeline) parts() []part {
	all := []part{{"", t.base}}
	for _, c := range t.classes {
		all = append(all, part{c.Name, c.Link})
	}
	return all
}

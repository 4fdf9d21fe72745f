package timeline

import (
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/shaping"
)

// Timeline is a link's conditions over the run's clock. It is immutable.
type Timeline struct {
	base  shaping.Link
	steps []Step
	seed  uint64
}

// State is what a timeline has at an instant.
type State struct {
	Link shaping.Link
	// Steps are those that last, in the order of the file.
	Steps []Share
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
// the steps' names.
//
// Steps that ever make conditions that make no sense together are refused; the error is
// a place.List.
func New(base shaping.Link, steps []Step, seed uint64) (*Timeline, error) {
	t := &Timeline{base: base, steps: steps, seed: seed}
	if errs := t.check(); len(errs) > 0 {
		return nil, errs
	}
	return t, nil
}

// At is what the timeline has at an instant of the run's clock.
func (t *Timeline) At(at time.Duration) State {
	state := State{Link: t.base}
	for i := range t.steps {
		s := &t.steps[i]
		w, lasts := s.window(t.seed, at)
		if !lasts {
			continue
		}
		x := s.weight(w, at)
		for _, d := range directions {
			if c := state.Link.Of(d); s.Touches(d) {
				*c = blend(*c, s.over(*c, d), x)
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

// Touches reports whether a direction ever has conditions.
func (t *Timeline) Touches(d shaping.Direction) bool {
	if !t.base.Of(d).IsZero() {
		return true
	}
	for i := range t.steps {
		if t.steps[i].Touches(d) {
			return true
		}
	}
	return false
}

// Base is what holds where no step lasts.
func (t *Timeline) Base() shaping.Link { return t.base }

// Steps are the steps in order. The caller does not change them.
func (t *Timeline) Steps() []Step { return t.steps }

// Alone is the link while no step but the i-th lasts.
func (t *Timeline) Alone(i int) shaping.Link {
	l := t.base
	for _, d := range directions {
		*l.Of(d) = t.steps[i].over(*l.Of(d), d)
	}
	return l
}

package timeline

import (
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/shaping"
)

// Step is other conditions for a while.
type Step struct {
	Name   string
	During []timing.Span // on the run's clock, in order and apart from each other; at least one

	// Every makes it come and go: during each Every it lasts from ForLeast to ForMost,
	// drawn for each time; 0 for a step that lasts as long as During.
	Every             time.Duration
	ForLeast, ForMost time.Duration
	// Random lets it come anywhere within each Every, and not at its begin.
	Random bool

	// In and Out are how long its conditions take to come and to go, within the time
	// that it lasts.
	In, Out time.Duration

	// Classes are the link's classes that it changes, instead of the link itself;
	// shaping.AllClasses for it and them all.
	Classes []string

	// Down and Up are what it replaces; nil leaves a direction as it is.
	Down, Up *shaping.Patch
	// Outage loses every packet of both directions, instead of Down and Up.
	Outage bool

	file    *place.File
	node    ast.Node
	classes []ast.Node // where each of Classes stands
}

// Error is a finding at the step's place.
func (s *Step) Error(hint, format string, args ...any) *place.Error {
	if s.file == nil {
		return place.NewFile("link", nil).At(0, 0, hint, format, args...)
	}
	return s.file.AtNode(s.node, hint, format, args...)
}

// Touches reports whether the step changes a direction.
func (s *Step) Touches(d shaping.Direction) bool {
	return s.Outage || s.patch(d) != nil
}

func (s *Step) patch(d shaping.Direction) *shaping.Patch {
	if d == shaping.Up {
		return s.Up
	}
	return s.Down
}

// over is what the step, fully in force, makes of the conditions below it.
func (s *Step) over(c shaping.Conditions, d shaping.Direction) shaping.Conditions {
	switch p := s.patch(d); {
	case s.Outage:
		return c.Outage()
	case p != nil:
		return p.Over(c, d)
	}
	return c
}

// of reports whether the step changes a class, or the link itself, which is "".
func (s *Step) of(class string) bool {
	switch {
	case len(s.Classes) == 0:
		return class == ""
	case s.Classes[0] == shaping.AllClasses:
		return true
	}
	return slices.Contains(s.Classes, class)
}

// lay lays x of the step over what is there.
func (s *Step) lay(l *shaping.Link, x float64) {
	for _, d := range directions {
		if c := l.Of(d); s.Touches(d) {
			*c = blend(*c, s.over(*c, d), x)
		}
	}
}

// alone is what a class, or the link itself, has while no other step lasts.
func (s *Step) alone(base shaping.Link, class string) shaping.Link {
	if s.of(class) {
		s.lay(&base, 1)
	}
	return base
}

// partial reports whether the step is at times less than fully in force while its
// spans last.
func (s *Step) partial() bool { return s.Every > 0 || s.In > 0 || s.Out > 0 }

// window is one time that a step lasts, from inclusive, to exclusive.
type window struct{ from, to time.Duration }

// drawn is the n-th time that a flapping step lasts within its i-th span. It may begin
// after the span's end, and is then none; one that would reach beyond it is cut.
func (s *Step) drawn(seed uint64, i int, n int64) window {
	span := s.During[i]
	length, offset := s.ForLeast, time.Duration(0)
	draw := func(what uint64, most time.Duration) time.Duration {
		u := timing.Unit(timing.Mix(timing.MixString(seed, "link step", s.Name), uint64(i), uint64(n), what))
		return time.Duration(u * float64(most))
	}
	if s.ForMost > s.ForLeast {
		length += draw(0, s.ForMost-s.ForLeast)
	}
	if s.Random {
		offset = draw(1, s.Every-length)
	}
	from := span.From + time.Duration(n)*s.Every + offset
	return window{from, min(from+length, span.To)}
}

// window is the one that holds at; ok is false where there is none.
func (s *Step) window(seed uint64, at time.Duration) (w window, ok bool) {
	for i, span := range s.During {
		if !span.Holds(at) {
			continue
		}
		if s.Every == 0 {
			return window{span.From, span.To}, true
		}
		w = s.drawn(seed, i, int64((at-span.From)/s.Every))
		return w, at >= w.from && at < w.to
	}
	return window{}, false
}

// next is when the step begins to last after at; timing.Endless for never.
func (s *Step) next(seed uint64, at time.Duration) time.Duration {
	for i, span := range s.During {
		if at >= span.To {
			continue
		}
		if s.Every == 0 {
			if at < span.From {
				return span.From
			}
			continue
		}
		n := int64(0)
		if at > span.From {
			n = int64((at - span.From) / s.Every)
		}
		for range 2 { // that of this Every may have begun already, the following one has not
			if w := s.drawn(seed, i, n); w.from > at && w.from < span.To {
				return w.from
			}
			n++
		}
	}
	return timing.Endless
}

// tick is how often conditions on a ramp change. Source: docs/links.md, "Ramps".
const tick = 50 * time.Millisecond

// weight is how much of the step is in force at an instant of a window, in [0, 1]. It is
// constant between the instants that change gives.
func (s *Step) weight(w window, at time.Duration) float64 {
	x := 1.0
	if since := at - w.from; since < s.In {
		x = float64(since/tick*tick) / float64(s.In)
	}
	if since := at - (w.to - s.Out); s.Out > 0 && since >= 0 {
		x = min(x, 1-float64(since/tick*tick)/float64(s.Out))
	}
	return x
}

// change is when the step's weight changes after an instant of a window.
func (s *Step) change(w window, at time.Duration) time.Duration {
	next := w.to
	if top := w.from + s.In; at < top {
		next = min(next, top, w.from+((at-w.from)/tick+1)*tick)
	}
	switch down := w.to - s.Out; {
	case at < down:
		next = min(next, down)
	case s.Out > 0:
		next = min(next, down+((at-down)/tick+1)*tick)
	}
	return next
}

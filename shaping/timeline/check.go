package timeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/shaping"
)

const (
	// maxSteps and maxPartial bound what check tries: of steps that may be in force or
	// not at one time, all combinations.
	maxSteps   = 100
	maxPartial = 8
)

// check finds the steps that ever make conditions that make no sense with what else may
// be in force beside them. On a ramp all conditions lie between those at its ends, and
// what may not be is convex, so that the ends are enough.
func (t *Timeline) check() place.List {
	if len(t.steps) > maxSteps {
		return place.List{t.steps[maxSteps].Error("", "want at most %d steps", maxSteps)}
	}
	errs := t.known()
	told := map[string]bool{}
	for _, p := range t.parts() {
		errs = append(errs, t.checkPart(p, told)...)
	}
	return errs
}

// known finds classes that steps name and the link does not have.
func (t *Timeline) known() (errs place.List) {
	names := shaping.ClassNames(t.classes)
	for i := range t.steps {
		s := &t.steps[i]
		for k, name := range s.Classes {
			if name == shaping.AllClasses || slices.Contains(names, name) {
				continue
			}
			hint := "link.classes has none"
			if near := place.Nearest(name, names); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			} else if len(names) > 0 {
				hint = "classes: " + strings.Join(names, ", ")
			}
			e := s.Error(hint, "step %q: there is no class %q", s.Name, name)
			if s.file != nil {
				e = s.file.AtNode(s.classes[k], hint, "step %q: there is no class %q", s.Name, name)
			}
			errs = append(errs, e)
		}
	}
	return errs
}

// checkPart is check for the link itself or a class; told is what was found before.
func (t *Timeline) checkPart(p part, told map[string]bool) (errs place.List) {
	tried := map[string]bool{}
	for _, at := range t.edges() {
		var all, partial []int
		for i := range t.steps {
			s := &t.steps[i]
			if !s.of(p.name) || !slices.ContainsFunc(s.During, func(span timing.Span) bool { return span.Holds(at) }) {
				continue
			}
			all = append(all, i)
			if s.partial() {
				partial = append(partial, i)
			}
		}
		if len(partial) > maxPartial {
			return append(errs, t.steps[partial[maxPartial]].Error("", "at %v more than %d steps flap or ramp at once", at, maxPartial))
		}
		for off := range 1 << len(partial) {
			on := slices.DeleteFunc(slices.Clone(all), func(i int) bool {
				n := slices.Index(partial, i)
				return n >= 0 && off&(1<<n) != 0
			})
			if key := fmt.Sprint(on); !tried[key] {
				tried[key] = true
				if e := t.try(p, on, at); e != nil && !told[e.Error()] {
					told[e.Error()] = true
					errs = append(errs, e)
				}
			}
		}
	}
	return errs
}

// edges are the instants at which another set of steps may last than before.
func (t *Timeline) edges() []time.Duration {
	var all []time.Duration
	for i := range t.steps {
		for _, span := range t.steps[i].During {
			all = append(all, span.From, span.To)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// try lays steps over the base and says which made it impossible; nil for none.
func (t *Timeline) try(p part, on []int, at time.Duration) *place.Error {
	for _, d := range directions {
		c := *p.base.Of(d)
		var blame *Step
		var why error
		for _, i := range on {
			s := &t.steps[i]
			if !s.Touches(d) {
				continue
			}
			c = s.over(c, d)
			switch err := c.Check(); {
			case err == nil:
				blame = nil // it mends what those before it made
			case blame == nil:
				blame, why = s, err
			}
		}
		if blame == nil {
			continue
		}
		var beside []string
		for _, i := range on {
			if s := &t.steps[i]; s != blame && s.Touches(d) {
				beside = append(beside, s.Name)
			}
		}
		hint := "over the link's own conditions"
		if p.name != "" {
			hint = fmt.Sprintf("over class %q's own conditions", p.name)
		}
		if len(beside) > 0 {
			hint = fmt.Sprintf("at %v, beside %s", at, strings.Join(beside, ", "))
		}
		return blame.Error(hint+"; give it what it needs, or a profile, which replaces all", "step %q: %s: %s", blame.Name, d, why)
	}
	return nil
}

// Finding is what there is to know about a step's conditions, or a class's.
type Finding struct {
	shaping.Finding
	Class string // "" for the link itself
	Step  *Step  // nil for what a class has without any
}

// Lint explains conditions of steps that do something else than they seem to say, as lint
// does, which is shaping.Lint or its like: each step on its own over what is below. What
// is so without the step too is left out. Of classes it does so without steps, too.
func (t *Timeline) Lint(lint func(shaping.Link) []shaping.Finding) []Finding {
	var out []Finding
	for _, p := range t.parts() {
		known := map[string]bool{}
		for _, f := range lint(p.base) {
			known[f.Name+f.Text] = true
			if p.name != "" {
				out = append(out, Finding{f, p.name, nil})
			}
		}
		for i := range t.steps {
			s := &t.steps[i]
			if !s.of(p.name) {
				continue
			}
			alone := s.alone(p.base, p.name)
			for _, f := range lint(alone) {
				if !known[f.Name+f.Text] {
					out = append(out, Finding{f, p.name, s})
				}
			}
			for _, d := range directions {
				below, own := p.base.Of(d), alone.Of(d)
				if s.In+s.Out > 0 && (below.Rate == 0 && below.Trace == nil) != (own.Rate == 0 && own.Trace == nil) {
					out = append(out, Finding{shaping.Finding{Direction: d, Name: "rate", Level: shaping.Note,
						Text: "on the ramp the rate holds from the begin to the end, since there is none on the other side to go from"}, p.name, s})
				}
			}
		}
	}
	return out
}

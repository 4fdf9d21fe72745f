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
	var errs place.List
	told := map[string]bool{}
	tried := map[string]bool{}
	for _, at := range t.edges() {
		var all, partial []int
		for i := range t.steps {
			s := &t.steps[i]
			if !slices.ContainsFunc(s.During, func(span timing.Span) bool { return span.Holds(at) }) {
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
				if e := t.try(on, at); e != nil && !told[e.Error()] {
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
func (t *Timeline) try(on []int, at time.Duration) *place.Error {
	for _, d := range directions {
		c := *t.base.Of(d)
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
		if len(beside) > 0 {
			hint = fmt.Sprintf("at %v, beside %s", at, strings.Join(beside, ", "))
		}
		return blame.Error(hint+"; give it what it needs, or a profile, which replaces all", "step %q: %s: %s", blame.Name, d, why)
	}
	return nil
}

// Finding is what there is to know about a step's conditions.
type Finding struct {
	shaping.Finding
	Step *Step
}

// Lint explains conditions of steps that do something else than they seem to say, as lint
// does, which is shaping.Lint or its like: each step on its own over what is below. What
// is so without the step too is left out.
func (t *Timeline) Lint(lint func(shaping.Link) []shaping.Finding) []Finding {
	known := map[string]bool{}
	for _, f := range lint(t.base) {
		known[f.Name+f.Text] = true
	}
	var out []Finding
	for i := range t.steps {
		s := &t.steps[i]
		alone := t.Alone(i)
		for _, f := range lint(alone) {
			if !known[f.Name+f.Text] {
				out = append(out, Finding{f, s})
			}
		}
		for _, d := range directions {
			below, own := t.base.Of(d), alone.Of(d)
			if s.In+s.Out > 0 && (below.Rate == 0 && below.Trace == nil) != (own.Rate == 0 && own.Trace == nil) {
				out = append(out, Finding{shaping.Finding{Direction: d, Name: "rate", Level: shaping.Note,
					Text: "on the ramp the rate holds from the begin to the end, since there is none on the other side to go from"}, s})
			}
		}
	}
	return out
}

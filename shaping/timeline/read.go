package timeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/shaping"
)

// keys are a step's, in the order of docs/links.md.
var keys = []string{"name", "during", "every", "for", "random", "ramp", "class", "link", "down", "up", "outage"}

// What a slip of units would be beyond.
const (
	longest  = 24 * time.Hour     // of every, for and ramp
	farthest = 10_000 * time.Hour // on the run's clock
)

// Read reads a list of steps:
//
//	# all keys; docs/links.md has their meaning
//	- name: NAME
//	  during: 2m..3m          # or a list
//	  every: 10s
//	  for: 2s                 # or 1s..3s
//	  random: true
//	  ramp: 30s               # or {in: 30s, out: 10s}
//	  class: NAME             # of the link's classes, or a list, or all
//	  link: …                 # conditions, as Book.ReadPatch takes them
//	  down: …
//	  up: …
//	  outage: true
//
// All that is wrong is reported at once; the error is a place.List.
func Read(b *shaping.Book, f *place.File, node ast.Node) ([]Step, error) {
	r := &reader{book: b, file: f}
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		return nil, place.List{f.AtNode(node, "each step begins with a dash", "want a list of steps")}
	}
	taken := map[string]bool{}
	var steps []Step
	for _, n := range list.Values {
		s := r.step(n)
		if s.Name != "" && taken[s.Name] {
			r.fail(n, "names tell steps apart in the log and the report", "step %q is there twice", s.Name)
		}
		taken[s.Name] = true
		steps = append(steps, s)
	}
	if len(r.errs) > 0 {
		return nil, r.errs
	}
	return steps, nil
}

type reader struct {
	book *shaping.Book
	file *place.File
	errs place.List
}

func (r *reader) fail(n ast.Node, hint, format string, args ...any) {
	r.errs = append(r.errs, r.file.AtNode(place.Start(n), hint, format, args...))
}

// pairs are a mapping's; ok is false where n is none.
func pairs(n ast.Node) (all []*ast.MappingValueNode, ok bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	}
	return nil, false
}

// step reads one; what is wrong is in r.errs.
func (r *reader) step(n ast.Node) Step {
	s := Step{file: r.file, node: place.Start(n)}
	all, ok := pairs(n)
	if !ok {
		r.fail(n, "such as {name: tunnel, during: 2m..3m, outage: true}", "want a step's keys and values")
		return s
	}
	before := len(r.errs)
	at := map[string]ast.Node{}
	for _, v := range all {
		key := v.Key.String()
		if !slices.Contains(keys, key) {
			hint := "keys of a step: " + strings.Join(keys, ", ")
			if near := place.Nearest(key, keys); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			r.fail(v.Key, hint, "unknown key %q", key)
			continue
		}
		at[key] = v.Value
		r.key(&s, key, v.Value)
	}
	if len(r.errs) > before {
		return s
	}
	r.whole(&s, n, at)
	return s
}

// key reads one key of a step.
func (r *reader) key(s *Step, key string, value ast.Node) {
	switch key {
	case "name":
		if s.Name = r.text(value, "name", "a name"); strings.TrimSpace(s.Name) == "" {
			r.fail(value, "", "name: want a name")
		}
	case "during":
		r.during(s, value)
	case "every":
		s.Every = r.duration(value, "every")
	case "for":
		r.lasts(s, value)
	case "random":
		s.Random = r.boolean(value, "random")
	case "outage":
		if s.Outage = r.boolean(value, "outage"); !s.Outage {
			r.fail(value, "leave it out", "outage: want true")
		}
	case "ramp":
		r.ramp(s, value)
	case "class":
		r.classes(s, value)
	case "link", "down", "up":
		p, err := r.book.ReadPatch(r.file, value)
		var e *place.Error
		if errors.As(err, &e) {
			e.Msg = key + ": " + e.Msg
			r.errs = append(r.errs, e)
			return
		}
		if key != "up" && (key == "down" || s.Down == nil) {
			s.Down = &p
		}
		if key != "down" && (key == "up" || s.Up == nil) {
			s.Up = &p
		}
	}
}

func (r *reader) classes(s *Step, value ast.Node) {
	items := []ast.Node{value}
	if list, ok := value.(*ast.SequenceNode); ok {
		items = list.Values
	}
	if len(items) == 0 {
		r.fail(value, "leave it out for the link itself", "class: the list is empty")
	}
	for _, item := range items {
		if name := r.text(item, "class", "a class's name"); name != "" {
			s.Classes, s.classes = append(s.Classes, name), append(s.classes, item)
		}
	}
	if len(items) > 1 && slices.Contains(s.Classes, shaping.AllClasses) {
		r.fail(value, "", "class: all are all: want it alone")
	}
}

// whole says what is wrong with a step whose keys are right each on its own.
func (r *reader) whole(s *Step, n ast.Node, at map[string]ast.Node) {
	conditions := s.Down != nil || s.Up != nil
	switch {
	case s.Name == "":
		r.fail(n, "the log, the report and what is drawn go by it", "a step has no name")
	case len(s.During) == 0:
		r.fail(n, "such as during: 2m..3m; the link's own conditions hold always", "step %q has no during", s.Name)
	case !conditions && !s.Outage:
		r.fail(n, "link, down or up with conditions, or outage: true", "step %q changes nothing", s.Name)
	case conditions && s.Outage:
		r.fail(at["outage"], "an outage loses all packets", "step %q has an outage and conditions", s.Name)
	case s.Every == 0 && at["for"] != nil:
		r.fail(at["for"], "such as every: 10s, for: 2s", "for: want an every with it")
	case s.Every == 0 && s.Random:
		r.fail(at["random"], "such as every: 10s, for: 2s, random: true", "random: want an every with it")
	case s.Every > 0 && at["for"] == nil:
		r.fail(at["every"], "such as every: 10s, for: 2s", "every: want a for with it")
	case s.Every > 0 && s.ForMost >= s.Every:
		r.fail(at["for"], "", "for: want less than every, %v, got %v", s.Every, s.ForMost)
	default:
		r.fits(s, at["ramp"])
	}
}

// fits refuses ramps that are longer than what they are to fit into.
func (r *reader) fits(s *Step, ramp ast.Node) {
	least, what := timing.Endless, "for"
	for _, span := range s.During {
		if span.To < timing.Endless {
			least, what = min(least, span.To-span.From), "during"
		}
	}
	if s.Every > 0 && s.ForLeast < least {
		least, what = s.ForLeast, "for"
	}
	if s.In+s.Out > least {
		r.fail(ramp, "ramp: 30s comes and goes in 30s each; ramp: {in: 30s} only comes",
			"ramp: %v to come and %v to go do not fit into %v of %s", s.In, s.Out, least, what)
	}
}

func (r *reader) during(s *Step, value ast.Node) {
	items := []ast.Node{value}
	if list, ok := value.(*ast.SequenceNode); ok {
		items = list.Values
	}
	for _, item := range items {
		text := r.text(item, "during", "a range of times such as 2m..3m")
		if text == "" {
			continue
		}
		span, err := timing.ParseSpan(text)
		switch n := len(s.During); {
		case err != nil:
			r.fail(item, "a number needs a unit: us, ms, s, m, h", "during: %s", err)
			continue
		case span.From > farthest || span.To > farthest && span.To != timing.Endless:
			r.fail(item, "", "during: want at most %v, got %q", farthest, text)
			continue
		case n > 0 && span.From < s.During[n-1].To:
			r.fail(item, "", "during: want ranges in order and apart from each other, got %v after %v", span, s.During[n-1])
		}
		s.During = append(s.During, span)
	}
}

func (r *reader) lasts(s *Step, value ast.Node) {
	text := r.text(value, "for", "a duration such as 2s, or a range such as 1s..3s")
	least, most, ranged := strings.Cut(text, "..")
	s.ForLeast = r.parse(value, "for", strings.TrimSpace(least))
	s.ForMost = s.ForLeast
	if ranged {
		if s.ForMost = r.parse(value, "for", strings.TrimSpace(most)); s.ForMost < s.ForLeast {
			r.fail(value, "", "for: want the shorter time first, got %q", text)
		}
	}
}

func (r *reader) ramp(s *Step, value ast.Node) {
	all, ok := pairs(value)
	if !ok {
		s.In = r.duration(value, "ramp")
		s.Out = s.In
		return
	}
	for _, v := range all {
		switch key := v.Key.String(); key {
		case "in":
			s.In = r.duration(v.Value, "ramp: in")
		case "out":
			s.Out = r.duration(v.Value, "ramp: out")
		default:
			r.fail(v.Key, "keys: in, out", "ramp: unknown key %q", key)
		}
	}
}

// text is a scalar's; "" after what is wrong was reported.
func (r *reader) text(n ast.Node, key, want string) string {
	if s, ok := r.file.Scalar(n); ok {
		return s.Text
	}
	r.fail(n, "", "%s: want %s", key, want)
	return ""
}

func (r *reader) boolean(n ast.Node, key string) bool {
	switch text := r.text(n, key, "true or false"); text {
	case "true":
		return true
	case "false", "":
	default:
		r.fail(n, "", "%s: want true or false, got %q", key, text)
	}
	return false
}

func (r *reader) duration(n ast.Node, key string) time.Duration {
	text := r.text(n, key, `a duration such as "30s"`)
	if text == "" {
		return 0
	}
	return r.parse(n, key, text)
}

// parse reads a duration above 0.
func (r *reader) parse(n ast.Node, key, text string) time.Duration {
	d, err := time.ParseDuration(text)
	hint := ""
	if err != nil {
		hint = "a number needs a unit: us, ms, s, m, h"
		if unit := timing.UnknownUnit(text); unit != "" {
			hint = fmt.Sprintf("unknown unit %q; units: us, ms, s, m, h", unit)
		}
	}
	switch {
	case err != nil || d <= 0:
		r.fail(n, hint, `%s: want a duration such as "30s", got %q`, key, text)
		return 0
	case d > longest:
		r.fail(n, "", "%s: want at most %v, got %q", key, longest, text)
		return 0
	}
	return d
}

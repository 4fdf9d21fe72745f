package timeline

import (
	"errors"
	"testing"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/shaping"
)

// read reads what may stand under link: down, up, classes and steps.
func read(text string, seed uint64) (*Timeline, error) {
	b, err := shaping.NewBook()
	if err != nil {
		return nil, err
	}
	b.Open = func(name string) ([]byte, error) {
		switch name {
		case "lake.trace":
			return []byte("1\n5\n9\n"), nil
		case "rtt.txt":
			return []byte("0s 20ms\n1s 30ms\n"), nil
		}
		return nil, errors.New("no such file")
	}
	f := place.NewFile("link.yaml", []byte(text))
	node, err := place.ParseYAML(f, []byte(text))
	if err != nil {
		return nil, err
	}
	var base shaping.Link
	var list ast.Node
	var classes []shaping.LinkClass
	all, _ := pairs(node)
	for _, v := range all {
		switch key := v.Key.String(); key {
		case "steps":
			list = v.Value
		case "classes":
			if classes, err = b.ReadClasses(f, v.Value); err != nil {
				return nil, err
			}
		case "down", "up":
			l, err := b.Read(f, v.Value)
			if err != nil {
				return nil, err
			}
			*base.Of(shaping.Direction(key)) = *l.Of(shaping.Direction(key))
		}
	}
	if list == nil {
		return New(base, nil, seed, classes...)
	}
	steps, err := Read(b, f, list)
	if err != nil {
		return nil, err
	}
	return New(base, steps, seed, classes...)
}

func timeline(t *testing.T, text string) *Timeline {
	t.Helper()
	l, err := read(text, 7)
	if err != nil {
		t.Fatalf("read: %s", place.Detail(err))
	}
	return l
}

// holds says where a law of timelines is broken: what At gives is possible, and the same
// until Next.
func holds(t *testing.T, l *Timeline, at time.Duration) (next time.Duration, ok bool) {
	t.Helper()
	state := l.At(at)
	for _, d := range directions {
		if err := state.Link.Of(d).Check(); err != nil {
			t.Fatalf("At(%v) = %+v, which cannot be: %s: %v", at, state, d, err)
		}
	}
	next, ok = l.Next(at)
	if next <= at {
		t.Fatalf("Next(%v) = %v, want later", at, next)
	}
	last := next - 1
	if !ok {
		last = at + 1000*time.Hour
	}
	for _, still := range []time.Duration{at + (last-at)/2, at + (last-at)/3, last} {
		if later := l.At(still); !same(later, state) {
			t.Fatalf("At(%v) = %+v and At(%v) = %+v, but Next(%v) = %v, %v", at, state, still, later, at, next, ok)
		}
	}
	return next, ok
}

func same(a, b State) bool {
	if a.Link != b.Link || len(a.Steps) != len(b.Steps) {
		return false
	}
	for i := range a.Steps {
		if a.Steps[i] != b.Steps[i] {
			return false
		}
	}
	return true
}

package app

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/shaping"
)

// netemLink is a captured command's link as the kernel's netem shapes it: each direction
// at the end that sends it.
type netemLink struct {
	seed    uint64 // the run's root seed
	targets map[shaping.Direction]shaping.Target

	mu sync.Mutex
	// ends has a direction from its first conditions on.
	ends map[shaping.Direction]*shaping.Applied
}

// newNetemLink is g's link; nothing is in force yet.
func newNetemLink(g *gateway.Gateway, seed uint64) *netemLink {
	l := &netemLink{seed: seed, targets: map[shaping.Direction]shaping.Target{}, ends: map[shaping.Direction]*shaping.Applied{}}
	for _, d := range directions {
		end := g.Up()
		if d == shaping.Down {
			end = g.Down()
		}
		l.targets[d] = shaping.Target{Socket: end.Socket, Interface: end.Name, Egress: d}
	}
	return l
}

func (l *netemLink) Change(ctx context.Context, link shaping.Link, classes ...shaping.LinkClass) error {
	if len(classes) > 0 {
		return errors.New("netem has no classes") // what was asked was held against that before
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range directions {
		var one shaping.Link
		c := one.Of(d)
		if *c = *link.Of(d); c.Seed == 0 && c.Random() {
			c.Seed = linkSeed(l.seed, d)
		}
		switch a := l.ends[d]; {
		case a != nil:
			if err := a.Change(ctx, one); err != nil {
				return err
			}
		case !one.IsZero():
			a, err := shaping.Apply(ctx, l.targets[d], one)
			if err != nil {
				return err
			}
			l.ends[d] = a
		}
	}
	return nil
}

func (l *netemLink) Counters() (map[shaping.Direction]shaping.Counters, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[shaping.Direction]shaping.Counters{}
	var errs []error
	for _, a := range l.ends {
		one, err := a.Counters()
		errs = append(errs, err)
		maps.Copy(out, one)
	}
	return out, errors.Join(errs...)
}

func (l *netemLink) Conditions() map[shaping.Direction]shaping.Conditions {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[shaping.Direction]shaping.Conditions{}
	for _, a := range l.ends {
		maps.Copy(out, a.Conditions())
	}
	return out
}

func (l *netemLink) Findings() (all []shaping.Finding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range directions {
		if a := l.ends[d]; a != nil {
			all = append(all, a.Findings()...)
		}
	}
	return all
}

func (l *netemLink) Classes() []shaping.LinkClass { return nil }

func (l *netemLink) ClassCounters() map[string]map[shaping.Direction]shaping.Counters { return nil }

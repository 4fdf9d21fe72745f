package shaping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// Patch is conditions that are laid over others: they replace those that they name, or
// all of them where they begin with a profile. The zero value replaces none.
type Patch struct {
	profile string // "" for none
	link    Link   // the profile's, or nothing, with what is named
	keys    []*key // what is named
}

// ReadPatch reads a patch in the form of Read. Whether its conditions make sense is
// known only where they are laid over others: see Conditions.Check. Errors are
// *place.Error in f.
func (b *Book) ReadPatch(f *place.File, node ast.Node) (Patch, error) {
	var p Patch
	if node.Type() != ast.NullType {
		var err error
		if p, err = b.read(f, node, false); err != nil {
			return p, err
		}
	}
	if p.profile == "" && len(p.keys) == 0 {
		return p, f.AtNode(node, "such as {delay: 200ms}, or a profile's name", "there are no conditions")
	}
	return p, nil
}

// Over is c with p's conditions for the direction d laid over it. What a condition
// replaces goes with it, as in a spec that begins with a profile: a loss takes the place
// of any other kind of loss, a queue that of a limit. A seed stays, unless p names one.
func (p Patch) Over(c Conditions, d Direction) Conditions {
	mine := p.link.Of(d)
	if p.profile != "" {
		out := *mine
		if out.Seed == 0 {
			out.Seed = c.Seed
		}
		return out
	}
	for _, k := range p.keys {
		k.copy(&c, mine)
	}
	if p.names("distribution") && mine.Distribution != nil && mine.Distribution.Jitter > 0 {
		// One that was measured brings its delay and jitter along.
		c.Jitter = mine.Jitter
		if mine.Delay > 0 {
			c.Delay = mine.Delay
		}
	}
	var none *Book
	none.complete(&c, p.names)
	return c
}

// names reports whether p names a condition.
func (p Patch) names(name string) bool {
	return slices.ContainsFunc(p.keys, func(k *key) bool { return k.name == name })
}

// Outage loses every packet. What else could let one through, a copy or a mark in its
// place, it takes out.
func (c Conditions) Outage() Conditions {
	c.Loss, c.LossCorrelation, c.Burst = 1, 0, 0
	c.GilbertElliott, c.FourState = GilbertElliott{}, FourState{}
	c.Duplicate, c.DuplicateCorrelation, c.ECN = 0, 0, false
	return c
}

// Check says what in c makes no sense beside the rest, as the kernel would not; nil
// where all does. The error is for people, and begins with the condition's name.
func (c Conditions) Check() error {
	if name, p := c.conflict(); p != nil {
		return fmt.Errorf("%s: %s", name, p.msg)
	}
	return nil
}

// String is p as a spec.
func (p Patch) String() string {
	var parts []string
	if p.profile != "" {
		parts = append(parts, p.profile)
	}
	for _, k := range p.keys {
		text := k.format(&p.link.Down)
		if text == "" {
			text = "none"
		}
		parts = append(parts, k.name+"="+text)
	}
	return strings.Join(parts, ",")
}

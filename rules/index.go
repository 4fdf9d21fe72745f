package rules

import (
	"maps"
	"slices"
	"strings"
)

// members is a set of rules by their position in the Set.
type members []uint64

func newMembers(n int) members { return make(members, (n+63)/64) }

func (b members) set(i int) { b[i/64] |= 1 << (i % 64) }

func (b members) or(c members) {
	for i := range b {
		b[i] |= c[i]
	}
}

// index finds the rules whose guards let a request through, without looking at
// the others: one look-up for the method, one for the host, and one for each
// length that a path prefix has. The answer is the intersection of three sets.
type index struct {
	method dimension
	host   dimension
	paths  dimension // by whole path
	// prefixes holds for each prefix the rules of it and of all shorter ones
	// that it begins with, so that the longest match says all.
	prefixes map[string]members
	lengths  []int // of the prefixes, longest first
}

// dimension is one property that rules may ask for.
type dimension struct {
	byValue map[string]members // those that ask for this value, and those that do not ask
	others  members            // those that do not ask
}

func (d *dimension) find(value string) members {
	if b, ok := d.byValue[value]; ok {
		return b
	}
	return d.others
}

func newDimension(rules []*rule, asks func(*rule) []string) dimension {
	d := dimension{map[string]members{}, newMembers(len(rules))}
	for i, u := range rules {
		values := asks(u)
		if values == nil {
			d.others.set(i)
		}
		for _, v := range values {
			if d.byValue[v] == nil {
				d.byValue[v] = newMembers(len(rules))
			}
			d.byValue[v].set(i)
		}
	}
	for _, b := range d.byValue {
		b.or(d.others)
	}
	return d
}

func newIndex(rules []*rule) *index {
	x := &index{
		method:   newDimension(rules, func(u *rule) []string { return u.guards.methods }),
		host:     newDimension(rules, func(u *rule) []string { return u.guards.hosts }),
		prefixes: map[string]members{},
	}
	free := newMembers(len(rules))
	own := map[string]members{}
	exact := map[string]members{}
	add := func(m map[string]members, value string, i int) {
		if m[value] == nil {
			m[value] = newMembers(len(rules))
		}
		m[value].set(i)
	}
	for i, u := range rules {
		if u.guards.paths == nil && u.guards.prefixes == nil {
			free.set(i)
		}
		for _, p := range u.guards.prefixes {
			add(own, p, i)
		}
		for _, p := range u.guards.paths {
			add(exact, p, i)
		}
	}
	for p := range own {
		b := slices.Clone(free)
		for shorter, c := range own {
			if strings.HasPrefix(p, shorter) {
				b.or(c)
			}
		}
		x.prefixes[p] = b
	}
	lengths := map[int]bool{}
	for p := range own {
		lengths[len(p)] = true
	}
	x.lengths = slices.SortedFunc(maps.Keys(lengths), func(a, b int) int { return b - a })
	x.paths = dimension{exact, free}
	for p, b := range exact {
		b.or(x.prefix(p))
	}
	return x
}

// path is the set for a path.
func (x *index) path(path string) members {
	if b, ok := x.paths.byValue[path]; ok {
		return b
	}
	return x.prefix(path)
}

func (x *index) prefix(path string) members {
	for _, n := range x.lengths {
		if n > len(path) {
			continue
		}
		if b, ok := x.prefixes[path[:n]]; ok {
			return b
		}
	}
	return x.paths.others
}

// candidates are the rules that the index leaves; see word.
type candidates struct{ method, host, path members }

func (x *index) find(method, host, path string) candidates {
	return candidates{x.method.find(method), x.host.find(host), x.path(path)}
}

// word is 64 rules' worth of candidates.
func (c candidates) word(i int) uint64 { return c.method[i] & c.host[i] & c.path[i] }

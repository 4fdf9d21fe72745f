package shaping

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// Profile is a link with a name.
type Profile struct {
	Name   string
	About  string // what it stands for, in a few words
	Source string // where its numbers come from
	Link   Link
}

// Book knows profiles, and where to read files of distributions. It is not changed
// while it is read from.
type Book struct {
	profiles []Profile
	// Open reads a file of a distribution.
	Open func(path string) ([]byte, error)
}

//go:embed profiles.yaml
var packagedProfiles []byte

var parsePackaged = sync.OnceValues(func() ([]Profile, error) {
	b := &Book{}
	err := b.Add("profiles.yaml", packagedProfiles)
	return b.profiles, err
})

// NewBook has the packaged profiles and reads distributions from the disk.
func NewBook() (*Book, error) {
	p, err := parsePackaged()
	return &Book{profiles: slices.Clone(p), Open: os.ReadFile}, err
}

func (b *Book) profile(name string) (Link, error) {
	var names []string
	for _, p := range b.profiles {
		if p.Name == name {
			return p.Link, nil
		}
		names = append(names, p.Name)
	}
	return Link{}, &problem{fmt.Sprintf("want KEY=VALUE or a profile, got %q", name), "profiles: " + strings.Join(names, ", ")}
}

// set gives one condition its value.
func (b *Book) set(c *Conditions, k *key, text string) error {
	if err := k.parse(c, text); err != nil {
		return err
	}
	for _, d := range []**Distribution{&c.Distribution, &c.Slot.Distribution} {
		if *d != nil && (*d).Table == nil {
			full, err := b.distribution((*d).Name)
			if err != nil {
				return err
			}
			*d = full
		}
	}
	if t := c.Trace; t != nil && t.at == nil {
		full, err := readFile(b, t.Name, "", ParseTrace)
		if err != nil {
			return err
		}
		c.Trace = full
	}
	if t := c.DelayTrace; t != nil && t.at == nil {
		full, err := readFile(b, t.Name, "", ParseDelayTrace)
		if err != nil {
			return err
		}
		c.DelayTrace = full
	}
	return nil
}

func (b *Book) distribution(name string) (*Distribution, error) {
	d, err := readFile(b, strings.TrimPrefix(name, fileScheme), "distributions: "+strings.Join(Distributions(), ", "), ParseDistribution)
	if err != nil {
		return nil, err
	}
	d.Name = name
	return d, nil
}

// readFile reads a file that a condition names; hint is for where no file can be.
func readFile[T any](b *Book, path, hint string, parse func(name string, data []byte) (T, error)) (v T, err error) {
	if b == nil || b.Open == nil {
		return v, &problem{"no file can be read here", hint}
	}
	data, err := b.Open(path)
	if err != nil {
		return v, &problem{err.Error(), unread(err)}
	}
	if v, err = parse(path, data); err != nil {
		return v, &problem{place.Detail(err), ""}
	}
	return v, nil
}

// unread is the remedy for a file that cannot be read; "" for none.
func unread(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "a path counts from the file that names it; in an option, from the folder where understudy is run"
	case errors.Is(err, fs.ErrPermission):
		return "let the user who runs understudy read it"
	}
	return ""
}

// fit takes delay and jitter from a distribution that was measured, where they
// were not given.
func (b *Book) fit(c *Conditions) {
	if d := c.Distribution; d != nil && c.Jitter == 0 {
		c.Jitter = d.Jitter
		if c.Delay == 0 {
			c.Delay = d.Delay
		}
	}
	if d := c.Slot.Distribution; d != nil && c.Slot.DistJitter == 0 {
		c.Slot.DistJitter = d.Jitter
		if c.Slot.DistDelay == 0 {
			c.Slot.DistDelay = d.Delay
		}
	}
}

// Add reads profiles from YAML:
//
//	profiles:
//	  NAME:
//	    about: …
//	    source: …
//	    down: delay=40ms,rate=12mbit     # a spec or a mapping, likewise up
//	    up: {delay: 40ms, rate: 1mbit}
//	    link: …                          # both, instead of the two
//
// A name that the book has already is replaced. name is the file's, for errors: a
// place.List or *place.Error. Files of distributions are relative to it.
func (b *Book) Add(name string, data []byte) error {
	f := place.NewFile(name, data)
	node, err := place.ParseYAML(f, data)
	if err != nil {
		return err
	}
	if node == nil {
		return nil
	}
	top, err := mapping(f, node)
	if err != nil {
		return err
	}
	var errs place.List
	for _, v := range top {
		if key := v.Key.String(); key != "profiles" {
			errs = append(errs, f.AtNode(v.Key, "a file of profiles has the one key \"profiles\"", "unknown key %q", key))
			continue
		}
		all, err := mapping(f, v.Value)
		if err != nil {
			return err
		}
		for _, v := range all {
			p, err := b.readProfile(f, v)
			if err != nil {
				errs = appendErr(errs, f, v.Key, err)
				continue
			}
			b.profiles = slices.DeleteFunc(b.profiles, func(q Profile) bool { return q.Name == p.Name })
			b.profiles = append(b.profiles, p)
		}
	}
	return errs.Err()
}

func appendErr(errs place.List, f *place.File, node ast.Node, err error) place.List {
	var list place.List
	var one *place.Error
	switch {
	case errors.As(err, &list):
		return append(errs, list...)
	case errors.As(err, &one):
		return append(errs, one)
	}
	return append(errs, f.AtNode(node, "", "%s", err))
}

func (b *Book) readProfile(f *place.File, v *ast.MappingValueNode) (Profile, error) {
	p := Profile{Name: v.Key.String()}
	if strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || p.Name == "" {
		return p, f.AtNode(v.Key, "", "want a name of a-z, 0-9, -, _ and ., got %q", p.Name)
	}
	fields, err := mapping(f, v.Value)
	if err != nil {
		return p, err
	}
	for _, v := range fields {
		switch key := v.Key.String(); key {
		case "about", "source":
			text, ok := v.Value.(ast.ScalarNode)
			if !ok {
				return p, f.AtNode(v.Value, "", "%s: want a text", key)
			}
			s := strings.TrimSpace(fmt.Sprint(text.GetValue()))
			if key == "about" {
				p.About = s
			} else {
				p.Source = s
			}
		case "link", string(Down), string(Up):
			l, err := b.Read(f, v.Value)
			if err != nil {
				return p, err
			}
			if key != string(Up) {
				p.Link.Down = l.Down
			}
			if key != string(Down) {
				p.Link.Up = l.Up
			}
		default:
			return p, f.AtNode(v.Key, "keys: about, source, down, up, link", "unknown key %q", key)
		}
	}
	return p, nil
}

// Read reads a spec, or conditions as a mapping, {delay: 40ms, loss: 0.5%}, in which
// profile: NAME may stand as the base. Errors are *place.Error in f.
func (b *Book) Read(f *place.File, node ast.Node) (Link, error) {
	p, err := b.read(f, node, true)
	return p.link, err
}

// read is Read for a patch; alone as parse has it.
func (b *Book) read(f *place.File, node ast.Node, alone bool) (Patch, error) {
	if s, ok := node.(ast.ScalarNode); ok {
		p, err := b.within(f).parse(fmt.Sprint(s.GetValue()), alone)
		if err != nil {
			var e *place.Error
			errors.As(err, &e) // what parse returns
			return Patch{}, f.AtNode(node, e.Hint, "%s", e.Msg)
		}
		return p, nil
	}
	fields, err := mapping(f, node)
	if err != nil {
		return Patch{}, err
	}
	var patch Patch
	l := &patch.link
	for _, v := range fields {
		if v.Key.String() != "profile" {
			continue
		}
		patch.profile = scalar(v.Value)
		if *l, err = b.profile(patch.profile); err != nil {
			return Patch{}, f.AtNode(v.Value, asProblem(err).hint, "profile: %s", asProblem(err).msg)
		}
	}
	where := map[string]ast.Node{}
	for _, v := range fields {
		name := v.Key.String()
		k := find(name)
		switch {
		case name == "profile":
			continue
		case k == nil:
			return Patch{}, f.AtNode(v.Key, unknownKeyHint(name, "profile"), "unknown condition %q", name)
		}
		where[name] = v.Value
		patch.keys = append(patch.keys, k)
		for _, c := range []*Conditions{&l.Down, &l.Up} {
			if err := b.within(f).set(c, k, scalar(v.Value)); err != nil {
				return Patch{}, f.AtNode(v.Value, asProblem(err).hint, "%s: %s", name, asProblem(err).msg)
			}
		}
	}
	for _, c := range []*Conditions{&l.Down, &l.Up} {
		b.complete(c, func(name string) bool { return where[name] != nil })
		if name, p := c.conflict(); p != nil && alone {
			at := where[name]
			if at == nil {
				at = node
			}
			return Patch{}, f.AtNode(at, p.hint, "%s: %s", name, p.msg)
		}
	}
	return patch, nil
}

// within opens files relative to f.
func (b *Book) within(f *place.File) *Book {
	if b == nil || b.Open == nil {
		return b
	}
	inner := *b
	inner.Open = func(path string) ([]byte, error) {
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(f.Name), path)
		}
		return b.Open(path)
	}
	return &inner
}

func scalar(node ast.Node) string {
	if s, ok := node.(ast.ScalarNode); ok {
		if s.GetToken() != nil {
			return s.GetToken().Value
		}
		return fmt.Sprint(s.GetValue())
	}
	return node.String()
}

func mapping(f *place.File, node ast.Node) ([]*ast.MappingValueNode, error) {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values, nil
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, nil
	case *ast.NullNode:
		return nil, nil
	}
	return nil, f.AtNode(node, "", "want keys and values, got %s", node.Type())
}

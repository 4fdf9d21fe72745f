package shaping

import (
	"errors"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// LinkClass is a part of a link's traffic with conditions, and so a queue, of its own: none
// of the link's hold for it. A flow belongs to the first class that has its peer among
// To, or to one that it was put into; what belongs to none has the link's conditions.
type LinkClass struct {
	Name string
	To   []Destination // none for a class that flows are only put into
	Link Link          // zero lets packets pass as they are

	file *place.File
	node ast.Node
}

// AllClasses stands for the link itself and all its classes, and is no class's name.
const AllClasses = "all"

const (
	// mostClasses bounds what is looked through for a packet.
	mostClasses = 64
	// longestName keeps logs and metrics legible.
	longestName = 100
	// unshaped lets packets pass as they are, where there have to be conditions.
	unshaped = "none"
)

var classKeys = []string{"name", "to", "link", "down", "up"}

// Error is a finding at the class's place.
func (c *LinkClass) Error(hint, format string, args ...any) *place.Error {
	if c.file == nil {
		return place.NewFile("link", nil).At(0, 0, hint, format, args...)
	}
	return c.file.AtNode(c.node, hint, format, args...)
}

// has reports whether a destination is among To.
func (c *LinkClass) has(d Destination) bool { return slices.Contains(c.To, d) }

// ReadClasses reads a list of classes:
//
//   - name: NAME
//     to: db.internal:5432      # or a list; none for a class that rules put connections into
//     link: …                   # conditions as Read takes them, or none
//     down: …
//     up: …
//
// All that is wrong is reported at once; the error is a place.List.
func (b *Book) ReadClasses(f *place.File, node ast.Node) ([]LinkClass, error) {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		return nil, place.List{f.AtNode(node, "each class begins with a dash", "want a list of classes")}
	}
	var errs place.List
	var all []LinkClass
	for _, n := range list.Values {
		c, found := b.readClass(f, n)
		errs = append(errs, found...)
		for _, d := range c.To {
			if j := slices.IndexFunc(all, func(before LinkClass) bool { return before.has(d) }); j >= 0 {
				errs = append(errs, c.Error("the first class that has a destination takes it", "class %q: %s is class %q's already", c.Name, d, all[j].Name))
			}
		}
		all = append(all, c)
	}
	return all, errs.Err()
}

func (b *Book) readClass(f *place.File, n ast.Node) (c LinkClass, errs place.List) {
	c.file, c.node = f, place.Start(n)
	fields, err := mapping(f, n)
	if err != nil || len(fields) == 0 {
		return c, place.List{f.AtNode(place.Start(n), `such as {name: database, to: "db.internal:5432", link: delay=80ms}`, "want a class's keys and values")}
	}
	conditions := false
	for _, v := range fields {
		switch key := v.Key.String(); key {
		case "name":
			s, ok := f.Scalar(v.Value)
			if !ok {
				errs = append(errs, f.AtNode(v.Value, "", "name: want a name"))
				continue
			}
			c.Name = s.Text
			if hint := nameHint(s.Text); hint != "" {
				errs = append(errs, f.AtNode(v.Value, hint, "name: want another name, got %q", s.Text))
			}
		case "to":
			to, found := readTo(f, v.Value)
			c.To, errs = to, append(errs, found...)
		case "link", string(Down), string(Up):
			conditions = true
			l, err := b.readUnlessNone(f, v.Value)
			if err != nil {
				errs = appendErr(errs, f, v.Value, err)
				continue
			}
			if key == "link" {
				c.Link = l
			}
		default:
			hint := "keys of a class: " + strings.Join(classKeys, ", ")
			if near := place.Nearest(key, classKeys); near != "" {
				hint = "did you mean \"" + near + "\"?"
			}
			errs = append(errs, f.AtNode(v.Key, hint, "unknown key %q", key))
		}
	}
	// Whatever their order, down and up win over link.
	for _, v := range fields {
		if d := Direction(v.Key.String()); d == Down || d == Up {
			l, _ := b.readUnlessNone(f, v.Value)
			*c.Link.Of(d) = *l.Of(d)
		}
	}
	switch {
	case len(errs) > 0:
	case c.Name == "":
		errs = append(errs, c.Error("rules, steps, the log and metrics call it by that", "a class has no name"))
	case !conditions:
		errs = append(errs, c.Error("link, down or up with conditions; link: none for one that passes packets as they are",
			"class %q has no conditions", c.Name))
	}
	return c, errs
}

// nameHint says what is wrong with a class's name; "" for nothing.
func nameHint(name string) string {
	switch {
	case strings.TrimSpace(name) == "":
		return "it is empty"
	case name == AllClasses:
		return "that stands for the link and all its classes"
	case len(name) > longestName:
		return "it is too long"
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }):
		return "it has characters that nobody sees"
	}
	return ""
}

func readTo(f *place.File, n ast.Node) (to []Destination, errs place.List) {
	items := []ast.Node{n}
	if list, ok := n.(*ast.SequenceNode); ok {
		items = list.Values
	}
	for _, item := range items {
		s, ok := f.Scalar(item)
		if !ok {
			errs = append(errs, f.AtNode(place.Start(item), destinationHint, "to: want a host, a network or a port"))
			continue
		}
		d, err := ParseDestination(s.Text)
		if err != nil {
			p := asProblem(err)
			errs = append(errs, s.Start(p.hint, "to: %s", p.msg))
			continue
		}
		to = append(to, d)
	}
	if len(to) == 0 && len(errs) == 0 {
		errs = append(errs, f.AtNode(n, "leave it out for a class that only rules put connections into", "to: the list is empty"))
	}
	return to, errs
}

// readUnlessNone is Read, for which there is also a word for no conditions.
func (b *Book) readUnlessNone(f *place.File, n ast.Node) (Link, error) {
	if s, ok := f.Scalar(n); ok && strings.TrimSpace(s.Text) == unshaped {
		return Link{}, nil
	}
	return b.Read(f, n)
}

// ReadTo reads a class in its short form, one line
//
//	DEST=SPEC
//
// where DEST is a destination, or several with commas between them, and SPEC as Parse
// takes it, or none. Its name is DEST. The error is a *place.Error in f.
func (b *Book) ReadTo(f *place.File, node ast.Node) (LinkClass, error) {
	c := LinkClass{file: f, node: place.Start(node)}
	s, ok := f.Scalar(node)
	if !ok {
		return c, c.Error(`such as "db.internal:5432=delay=80ms"`, "want DEST=SPEC")
	}
	return b.within(f).readShort(c, s.Text)
}

// ParseTo is ReadTo for a text that is in no file.
func (b *Book) ParseTo(text string) (LinkClass, error) { return b.readShort(LinkClass{}, text) }

func (b *Book) readShort(c LinkClass, text string) (LinkClass, error) {
	dest, spec, ok := strings.Cut(text, "=")
	dest, spec = strings.TrimSpace(dest), strings.TrimSpace(spec)
	switch {
	case !ok || dest == "":
		return c, c.Error("such as db.internal:5432=delay=80ms", "want DEST=SPEC, got %q", text)
	case find(dest) != nil:
		return c, c.Error("such as db.internal:5432="+text, "want DEST=SPEC, got %q: %s is a condition", text, dest)
	case nameHint(dest) != "":
		return c, c.Error("name a class under link.classes", "want DEST=SPEC, got %q: %s", text, nameHint(dest))
	}
	c.Name = dest
	for part := range strings.SplitSeq(dest, ",") {
		d, err := ParseDestination(strings.TrimSpace(part))
		if err != nil {
			p := asProblem(err)
			return c, c.Error(p.hint, "%s", p.msg)
		}
		c.To = append(c.To, d)
	}
	if spec == unshaped {
		return c, nil
	}
	l, err := b.Parse(spec)
	if err != nil {
		var e *place.Error
		errors.As(err, &e) // what Parse returns
		return c, c.Error(e.Hint, "%s: %s", dest, e.Msg)
	}
	c.Link = l
	return c, nil
}

// CheckClasses finds what is wrong between classes. The error is a place.List.
func CheckClasses(all []LinkClass) error {
	var errs place.List
	if len(all) > mostClasses {
		errs = append(errs, all[mostClasses].Error("", "want at most %d classes", mostClasses))
	}
	for i := range all {
		c := &all[i]
		for j := range all[:i] {
			if all[j].Name == c.Name {
				errs = append(errs, c.Error("names tell classes apart in rules, the log and metrics", "class %q is there twice", c.Name))
			}
		}
	}
	return errs.Err()
}

// ClassNames are their names, in order.
func ClassNames(all []LinkClass) []string {
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Name
	}
	return names
}

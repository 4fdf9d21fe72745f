package rules

import (
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/watch"
)

// reader takes one file's YAML apart and gathers what is wrong with it.
type reader struct {
	file    *place.File
	dir     string // for body_file
	opts    *Options
	anchors map[string]ast.Node
	errs    place.List
	// bodyFiles are the files that rules name for bodies.
	bodyFiles []watch.Named
}

func (r *reader) fail(n ast.Node, hint, format string, args ...any) {
	r.errs = append(r.errs, r.file.AtNode(place.Start(n), hint, format, args...))
}

// entry is one key of a mapping with its value.
type entry struct {
	key     string
	keyNode ast.Node
	value   ast.Node
}

// plain follows anchors and aliases to the node that is meant; nil for null.
func (r *reader) plain(n ast.Node) ast.Node {
	for range 16 { // an alias of an alias; longer chains are loops
		switch m := n.(type) {
		case *ast.AnchorNode:
			n = m.Value
		case *ast.AliasNode:
			n = r.anchors[m.Value.GetToken().Value]
		case *ast.NullNode:
			return nil
		default:
			return n
		}
	}
	return nil
}

// anchorVisitor gathers anchors for aliases to look up.
type anchorVisitor struct{ anchors map[string]ast.Node }

func (v anchorVisitor) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok {
		v.anchors[a.Name.GetToken().Value] = a.Value
	}
	return v
}

// mapping returns the entries of n; what says what n is, for the error.
func (r *reader) mapping(what string, at, n ast.Node) ([]entry, bool) {
	var values []*ast.MappingValueNode
	switch m := r.plain(n).(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		r.fail(at, "", "%s: want keys and values, got %s", what, r.describe(n))
		return nil, false
	}
	entries := make([]entry, 0, len(values))
	for _, v := range values {
		key, ok := r.file.Scalar(v.Key)
		if !ok {
			r.fail(v.Key, "", "%s: want a plain key", what)
			continue
		}
		entries = append(entries, entry{key.Text, v.Key, v.Value})
	}
	return entries, true
}

// sequence returns the items of n, or n itself where it is no sequence.
func (r *reader) sequence(n ast.Node) []ast.Node {
	if s, ok := r.plain(n).(*ast.SequenceNode); ok {
		return s.Values
	}
	return []ast.Node{n}
}

// scalar returns n's text, or says that what wants one such as example.
func (r *reader) scalar(what, example string, at, n ast.Node) (*place.Scalar, bool) {
	if p := r.plain(n); p != nil {
		if s, ok := r.file.Scalar(p); ok {
			return s, true
		}
		at = n
	}
	r.fail(at, "", "%s: want %s, got %s", what, example, r.describe(n))
	return nil, false
}

func (r *reader) describe(n ast.Node) string {
	switch m := r.plain(n).(type) {
	case nil:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	default:
		if s, ok := r.file.Scalar(m); ok {
			return strconv.Quote(shorten(s.Text))
		}
		return "something else"
	}
}

func shorten(text string) string {
	if runes := []rune(text); len(runes) > 60 {
		return string(runes[:57]) + "..."
	}
	return text
}

// read hands e's text to parse and reports its error under e's key.
func (r *reader) read(e entry, what, example, hint string, parse func(string) error) {
	s, ok := r.scalar(what, example, e.keyNode, e.value)
	if !ok {
		return
	}
	if err := parse(s.Text); err != nil {
		r.errs = append(r.errs, s.Start(hint, "%s: %v", what, err))
	}
}

func (r *reader) boolean(e entry, what string, into *bool) {
	r.read(e, what, "true or false", "", func(text string) error {
		switch text {
		case "true":
			*into = true
		case "false":
			*into = false
		default:
			return fmt.Errorf("want true or false, got %q", shorten(text))
		}
		return nil
	})
}

func (r *reader) whole(e entry, what string, into *uint64) {
	r.read(e, what, "a whole number from 1", "", func(text string) error {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil || n == 0 {
			return fmt.Errorf("want a whole number from 1, got %q", shorten(text))
		}
		*into = n
		return nil
	})
}

// choice reads one of the allowed words.
func (r *reader) choice(e entry, what string, allowed ...string) (string, bool) {
	var word string
	n := len(r.errs)
	r.read(e, what, oneOf(allowed), "", func(text string) error {
		if !slices.Contains(allowed, text) {
			return fmt.Errorf("want %s, got %q%s", oneOf(allowed), shorten(text), meant(text, allowed))
		}
		word = text
		return nil
	})
	return word, len(r.errs) == n
}

// unknown reports a key that is none of the known ones.
func (r *reader) unknown(e entry, what string, known ...string) {
	where := ""
	if what != "" {
		where = what + ": "
	}
	r.fail(e.keyNode, "known keys are "+strings.Join(known, ", "), "%sunknown key %q%s", where, shorten(e.key), meant(e.key, known))
}

func oneOf(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// meant is `: did you mean "x"?` where a known word is near, else "".
func meant(got string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(got, k, least); d < least && d < len(k) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// distance is Levenshtein's, or limit where it is that or more.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return min(row[len(b)], limit)
}

// digest tells two versions of a rule apart, whatever their layout and comments.
func (r *reader) digest(n ast.Node) uint64 {
	h := fnv.New64a()
	r.digestInto(h, n, 8) // the schema is four deep
	return h.Sum64()
}

func (r *reader) digestInto(h io.Writer, n ast.Node, depth int) {
	if depth == 0 {
		return
	}
	switch m := r.plain(n).(type) {
	case *ast.MappingNode:
		for _, v := range m.Values {
			fmt.Fprintf(h, "{%q:", v.Key.String())
			r.digestInto(h, v.Value, depth-1)
		}
	case *ast.SequenceNode:
		for _, v := range m.Values {
			_, _ = io.WriteString(h, "-")
			r.digestInto(h, v, depth-1)
		}
	default:
		if s, ok := r.file.Scalar(m); ok {
			fmt.Fprintf(h, "%q;", s.Text)
		}
	}
}

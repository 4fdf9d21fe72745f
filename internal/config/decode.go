package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// input is one value on its way into the Config: a YAML node in a file, or the
// text of an environment variable or a flag.
type input struct {
	key    string
	file   *place.File // nil for text
	node   ast.Node    // nil for text
	text   string
	from   string // where text stood: "UNDERSTUDY_SPEED" or "--speed"
	more   bool   // a list: add to what is there
	one    bool   // a list: text is one value of it
	secret bool   // keep the value out of messages
	errs   *place.List
}

// errorf reports a finding at the value.
func (in input) errorf(hint, format string, args ...any) {
	var e *place.Error
	if in.file != nil {
		e = atNode(in.file, in.node, hint, format, args...)
	} else {
		e = &place.Error{File: in.from, Hint: hint, Msg: fmt.Sprintf(format, args...)}
	}
	if in.secret {
		e.Source = ""
	}
	*in.errs = append(*in.errs, e)
}

// fail reports that the value is not what it should be.
func (in input) fail(p *problem) {
	got := in.describe()
	if in.secret {
		got = "something else"
	}
	in.errorf(p.hint, "%s: want %s, got %s", in.key, p.want, got)
}

func (in input) describe() string {
	if in.node == nil {
		return quoteShort(in.text)
	}
	switch in.node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	}
	text, _ := scalarText(in.node)
	return quoteShort(text)
}

func quoteShort(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// scalarText returns a scalar as it was written, so that 010 and off are what
// they look like.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimSuffix(n.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode, *ast.NullNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// scalar returns the value's text; ok is false, and want is reported, where it
// is a list or a mapping.
func (in input) scalar(want string) (text string, ok bool) {
	if in.node == nil {
		return strings.TrimSpace(in.text), true
	}
	if text, ok = scalarText(in.node); !ok {
		in.fail(&problem{want: want})
	}
	return text, ok
}

// asYAML turns text into a node; in is returned as it is when it has one.
func (in input) asYAML() (input, bool) {
	if in.node != nil {
		return in, true
	}
	file := place.NewFile(in.from, []byte(in.text))
	node, ok := parseYAML(file, []byte(in.text), in.errs)
	in.file, in.node = file, node
	return in, ok && node != nil
}

// items returns a list's values. Text is a YAML list where it begins with '[',
// and otherwise separated by commas.
func (in input) items(want string) ([]input, bool) {
	if in.one {
		return []input{in}, true
	}
	if in.node == nil && !strings.HasPrefix(strings.TrimSpace(in.text), "[") {
		var out []input
		for part := range strings.SplitSeq(in.text, ",") {
			item := in
			item.text = strings.TrimSpace(part)
			out = append(out, item)
		}
		return out, true
	}
	in, ok := in.asYAML()
	if !ok {
		return nil, false
	}
	seq, isSeq := in.node.(*ast.SequenceNode)
	if !isSeq {
		in.fail(&problem{want: "a list of " + want, hint: "write each on a line of its own after a dash, or in [ ]"})
		return nil, false
	}
	out := make([]input, len(seq.Values))
	for i, v := range seq.Values {
		out[i] = in
		out[i].node = v
	}
	return out, true
}

// pair is a mapping's key and value.
type pair struct {
	name  string
	key   input // for findings about the key
	value input
}

// pairs returns a mapping's pairs in order; ok is false, and nothing reported,
// where in is no mapping.
func (in input) pairs() (out []pair, ok bool) {
	var values []*ast.MappingValueNode
	switch n := in.node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return nil, false
	}
	for _, v := range values {
		p := pair{key: in, value: in}
		p.key.node, p.value.node = v.Key, v.Value
		name, isText := scalarText(v.Key)
		if !isText {
			p.key.errorf("", "want a plain key")
			continue
		}
		p.name = name
		out = append(out, p)
	}
	return out, true
}

// isNull reports a key without a value, which counts as left out.
func isNull(n ast.Node) bool { return n == nil || n.Type() == ast.NullType }

// parseYAML parses data and refuses what a configuration has no use for:
// anchors, aliases and merges (small files that grow large) and tags.
func parseYAML(f *place.File, data []byte, errs *place.List) (ast.Node, bool) {
	node, err := place.ParseYAML(f, data)
	if err != nil {
		*errs = append(*errs, f.Wrap(err))
		return nil, false
	}
	if node == nil {
		return nil, true
	}
	before := len(*errs)
	ast.Walk(refuser{f, errs}, node)
	return node, len(*errs) == before
}

type refuser struct {
	file *place.File
	errs *place.List
}

// Visit reports the node if it is refused, and does not go below such a one.
func (r refuser) Visit(n ast.Node) ast.Visitor {
	what := ""
	switch n.(type) {
	case *ast.AnchorNode:
		what = "anchors"
	case *ast.AliasNode:
		what = "aliases"
	case *ast.MergeKeyNode:
		what = "merge keys"
	case *ast.TagNode:
		what = "tags"
	case *ast.MappingKeyNode:
		what = "complex keys"
	default:
		return r
	}
	*r.errs = append(*r.errs, r.file.AtNode(n, "write the value out", "%s are not read in a configuration", what))
	return nil
}

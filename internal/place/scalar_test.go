package place

import (
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
)

// Each character of a scalar is found where it stands: the marked letter X is
// looked for in the decoded text, and its place in the source.
func TestScalarAt(t *testing.T) {
	for name, source := range map[string]string{
		"plain":            "k: é bXc",
		"plain, continued": "k: one\n\n   two\n   thrXee",
		"commented":        "k: one X  # note",
		"single":           "k: 'it''s X'",
		"single, folded":   "k: 'one\n\n   two X'",
		"double":           `k: "é\t\"\u00e9\x41\\ X"`,
		"double, folded":   "k: \"one \\\n   two\n   X\"",
		"literal":          "k: |\n  one\n\n    two\n  X\n",
		"literal, kept":    "k: |+\n  one\n  X\n\n",
		"folded":           "k: >-\n  one\n  two\n\n  three\n    four\n  X",
		"crlf":             "k: |\r\n  one\r\n  X\r\n",
		"number":           "k: 12",
	} {
		f := NewFile("f.yaml", []byte(source))
		root, err := ParseYAML(f, []byte(source))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var value ast.Node
		switch m := root.(type) {
		case *ast.MappingNode:
			value = m.Values[0].Value
		case *ast.MappingValueNode:
			value = m.Value
		}
		s, ok := f.Scalar(value)
		if !ok {
			t.Fatalf("%s: Scalar = false for %T", name, value)
		}
		mark := "X"
		if name == "number" {
			mark = "2"
		}
		got := s.At(len([]rune(s.Text[:strings.Index(s.Text, mark)])), "", "here")
		line, column := 0, 0
		for i, l := range strings.Split(source, "\n") {
			if before, _, found := strings.Cut(l, mark); found {
				line, column = i+1, len([]rune(before))+1
			}
		}
		if got.Line != line || got.Column != column {
			t.Errorf("%s: At(%s) = %d:%d, want %d:%d", name, mark, got.Line, got.Column, line, column)
		}
	}
}

// No text and no index brings At down, and the places that At finds lie in the
// file. The scalar's start is the YAML library's word, whatever it is.
func FuzzScalarAt(f *testing.F) {
	f.Add("k: |\n  a\n   b\n", 3)
	f.Add("k: \"a\\\n b\"", 9)
	f.Add("k: 'a\n\n b'", -1)
	f.Fuzz(func(t *testing.T, source string, index int) {
		file := NewFile("f", []byte(source))
		root, err := ParseYAML(file, []byte(source))
		if err != nil || root == nil {
			return
		}
		ast.Walk(visit(func(n ast.Node) {
			if s, ok := file.Scalar(n); ok {
				if e := s.At(index, "", "x"); e.Line != s.line && e.Line > strings.Count(source, "\n")+1 {
					t.Errorf("At(%d) of %q = line %d, beyond the file", index, s.Text, e.Line)
				}
			}
		}), root)
	})
}

type visit func(ast.Node)

func (v visit) Visit(n ast.Node) ast.Visitor { v(n); return v }

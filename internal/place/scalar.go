package place

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Scalar is the text of a YAML scalar that knows where each of its characters
// stands in the file, so that a finding inside the text (an expression, a
// template) points at the right column whatever the scalar's style.
type Scalar struct {
	Text string

	file         *File
	line, column int // of the scalar's start
	style        token.Type
}

// spot is a place in a file, both from 1.
type spot struct{ line, column int }

// Scalar returns the text of n, false where n is no scalar or is null.
func (f *File) Scalar(n ast.Node) (*Scalar, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return f.scalarAt(n.Token, n.Value, n.Token.Type), true
	case *ast.LiteralNode:
		return f.scalarAt(n.Start, n.Value.Value, token.LiteralType), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		t := n.GetToken()
		return f.scalarAt(t, t.Value, token.StringType), true
	}
	return nil, false
}

func (f *File) scalarAt(t *token.Token, text string, style token.Type) *Scalar {
	return &Scalar{Text: text, file: f, line: t.Position.Line, column: t.Position.Column, style: style}
}

// At is a finding at the character of Text that is the index-th, from 0.
// Beyond the text it is the text's end. Where the text cannot be followed in
// the source it is the scalar's start.
func (s *Scalar) At(index int, hint, format string, args ...any) *Error {
	spots := s.file.flowSpots
	if s.style == token.LiteralType {
		spots = s.file.blockSpots
	}
	if all := spots(s); all != nil {
		p := all[min(max(index, 0), len(all)-1)]
		return s.file.At(p.line, p.column, hint, format, args...)
	}
	return s.Start(hint, format, args...)
}

// Start is a finding at the scalar's start, a quote or block sign included.
func (s *Scalar) Start(hint, format string, args ...any) *Error {
	return s.file.At(s.line, s.column, hint, format, args...)
}

// aligner walks the source beside the text that the YAML library made of it.
type aligner struct {
	lines [][]rune
	row   int // in lines
	col   int // in lines[row]
	first int // the number of lines[0]
}

func (f *File) alignerAt(line, column int) (*aligner, bool) {
	if line < 1 || line > len(f.lines) || column < 1 {
		return nil, false
	}
	a := &aligner{first: line, col: column - 1}
	for _, l := range f.lines[line-1:] {
		a.lines = append(a.lines, []rune(l))
	}
	return a, a.col <= len(a.lines[0])
}

func (a *aligner) here() spot { return spot{a.first + a.row, a.col + 1} }

// blankToEnd reports whether nothing but white space is left on the line.
func (a *aligner) blankToEnd() bool {
	return strings.TrimSpace(string(a.lines[a.row][a.col:])) == ""
}

// nextLine goes to the content of the next line that is not blank, past up to
// indent characters of white space.
func (a *aligner) nextLine(indent int) bool {
	for a.row++; a.row < len(a.lines); a.row++ {
		l := a.lines[a.row]
		for a.col = 0; a.col < len(l) && a.col < indent && (l[a.col] == ' ' || l[a.col] == '\t'); {
			a.col++
		}
		if !a.blankToEnd() {
			return true
		}
	}
	return false
}

// flowSpots aligns a plain or quoted scalar: the places of each character and
// of the text's end. nil where source and text part.
func (f *File) flowSpots(s *Scalar) []spot {
	style := s.style
	a, ok := f.alignerAt(s.line, s.column)
	if !ok {
		return nil
	}
	if style == token.SingleQuoteType || style == token.DoubleQuoteType {
		a.col++
	}
	text := []rune(s.Text)
	spots := make([]spot, 0, len(text)+1)
	const all = 1 << 30 // every leading space of a continued flow line is indentation
	for i := 0; i < len(text); {
		line := a.lines[a.row]
		if style == token.DoubleQuoteType && a.col < len(line) && line[a.col] == '\\' {
			if a.col+1 == len(line) { // an escaped line break joins without a space
				if !a.nextLine(all) {
					return nil
				}
				continue
			}
			got, width := unescape(line[a.col+1:])
			if width == 0 || got != text[i] {
				return nil
			}
			spots = append(spots, a.here())
			a.col += 1 + width
			i++
			continue
		}
		if a.blankToEnd() && (text[i] == ' ' || text[i] == '\n') {
			var n int
			n, spots = folded(text[i:], spots, a.here())
			i += n
			if !a.nextLine(all) {
				return nil
			}
			continue
		}
		if a.col >= len(line) || line[a.col] != text[i] {
			return nil
		}
		spots = append(spots, a.here())
		if style == token.SingleQuoteType && line[a.col] == '\'' {
			a.col++
		}
		a.col++
		i++
	}
	return append(spots, a.here())
}

// blockSpots aligns a literal or folded block scalar.
func (f *File) blockSpots(s *Scalar) []spot {
	a, ok := f.alignerAt(s.line, s.column)
	const probe = 1 << 30
	if !ok || !a.nextLine(probe) {
		return nil
	}
	indent := a.col
	text := []rune(s.Text)
	spots := make([]spot, 0, len(text)+1)
	for i := 0; i < len(text); {
		line := a.lines[a.row]
		if a.blankToEnd() && (text[i] == ' ' || text[i] == '\n') {
			var n int
			n, spots = folded(text[i:], spots, a.here())
			i += n
			if i < len(text) && !a.nextLine(indent) {
				return nil
			}
			continue
		}
		if a.col >= len(line) || line[a.col] != text[i] {
			return nil
		}
		spots = append(spots, a.here())
		a.col++
		i++
	}
	return append(spots, a.here())
}

// folded takes what a line break became, a space or some newlines, off the
// front of text.
func folded(text []rune, spots []spot, at spot) (int, []spot) {
	n := 0
	for n < len(text) && text[n] == '\n' {
		n++
	}
	n = max(n, 1)
	for range n {
		spots = append(spots, at)
	}
	return n, spots
}

// unescape reads one escape of a double-quoted scalar past its backslash; width
// is 0 where it is none. Source: YAML 1.2.2, 5.7.
func unescape(src []rune) (r rune, width int) {
	simple := map[rune]rune{
		'0': 0, 'a': '\a', 'b': '\b', 't': '\t', '\t': '\t', 'n': '\n', 'v': '\v', 'f': '\f', 'r': '\r',
		'e': 0x1b, ' ': ' ', '"': '"', '/': '/', '\\': '\\', 'N': 0x85, '_': 0xa0, 'L': 0x2028, 'P': 0x2029,
	}
	if r, ok := simple[src[0]]; ok {
		return r, 1
	}
	digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[src[0]]
	if digits == 0 || len(src) < 1+digits {
		return 0, 0
	}
	v, err := strconv.ParseUint(string(src[1:1+digits]), 16, 32)
	if err != nil || v > utf8.MaxRune {
		return 0, 0
	}
	return rune(v), 1 + digits
}

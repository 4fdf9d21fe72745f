// Package place gives an error its place: file, line, column, the line itself
// and a caret below it. Everything that a person writes (configuration, rules,
// stubs, expressions) is read through it, so that all errors look alike.
package place

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Error is a finding at a place in a file. Line and Column count from 1;
// 0 means unknown, and is left out.
type Error struct {
	File   string
	Line   int
	Column int    // in characters
	Msg    string // "delay: want a duration such as \"50ms\", got \"fifty\""
	Hint   string // the remedy; "" for none
	Source string // the offending line without its end; "" if unknown
}

// Error is one line: file:line:column: message.
func (e *Error) Error() string { return e.Place() + ": " + e.Msg }

// Place is file:line:column as far as known.
func (e *Error) Place() string {
	switch {
	case e.Line == 0:
		return e.File
	case e.Column == 0:
		return fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	return fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
}

// Detail is Error, the offending line with a caret, and the hint, each on a
// line of its own, without a newline at the end.
func (e *Error) Detail() string {
	var b strings.Builder
	b.WriteString(e.Error())
	if e.Source != "" {
		src := []rune(e.Source)
		fmt.Fprintf(&b, "\n    %s", string(src))
		if e.Column > 0 && e.Column <= len(src)+1 {
			// Tabs are kept, so that the caret stands under its character.
			pad := make([]rune, 0, e.Column)
			for _, r := range src[:e.Column-1] {
				if r != '\t' {
					r = ' '
				}
				pad = append(pad, r)
			}
			fmt.Fprintf(&b, "\n    %s^", string(pad))
		}
	}
	if e.Hint != "" {
		b.WriteString("\nhint: " + e.Hint)
	}
	return b.String()
}

// List is several findings. It is an error when it is not empty.
type List []*Error

// Error is one line a finding.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns l as an error, nil when it is empty.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}

// Detail renders err for a person: each Error in it with its line and caret,
// anything else as it is.
func Detail(err error) string {
	var l List
	if errors.As(err, &l) {
		parts := make([]string, len(l))
		for i, e := range l {
			parts[i] = e.Detail()
		}
		return strings.Join(parts, "\n")
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Detail()
	}
	return err.Error()
}

// File is a text that findings can point into.
type File struct {
	Name  string
	lines []string
}

// NewFile keeps data for its lines. Name is used as it is.
func NewFile(name string, data []byte) *File {
	return &File{Name: name, lines: strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")}
}

// At is a finding at line and column, both from 1.
func (f *File) At(line, column int, hint, format string, args ...any) *Error {
	e := &Error{File: f.Name, Line: line, Column: column, Hint: hint, Msg: fmt.Sprintf(format, args...)}
	if line >= 1 && line <= len(f.lines) {
		e.Source = f.lines[line-1]
	}
	return e
}

// AtNode is a finding at the start of a YAML node.
func (f *File) AtNode(n ast.Node, hint, format string, args ...any) *Error {
	if n == nil {
		return f.At(0, 0, hint, format, args...)
	}
	return f.atToken(n.GetToken(), hint, format, args...)
}

func (f *File) atToken(t *token.Token, hint, format string, args ...any) *Error {
	if t == nil || t.Position == nil {
		return f.At(0, 0, hint, format, args...)
	}
	return f.At(t.Position.Line, t.Position.Column, hint, format, args...)
}

// Wrap turns an error of the YAML library into a finding in f.
func (f *File) Wrap(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var y yaml.Error
	if errors.As(err, &y) {
		msg := y.GetMessage()
		if strings.HasPrefix(msg, "found character '\t'") {
			return f.atToken(y.GetToken(), "indent with spaces", "a tab where YAML wants spaces")
		}
		return f.atToken(y.GetToken(), "", "%s", msg)
	}
	return f.At(0, 0, "", "%s", err)
}

// ParseYAML parses data; the result has one document. An empty file gives a
// nil node. Errors are *Error.
func ParseYAML(f *File, data []byte) (ast.Node, error) {
	if line, column := tooDeep(data); line > 0 {
		return nil, f.At(line, column, "", "brackets are nested more than %d deep", maxDepth)
	}
	parsed, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, f.Wrap(err)
	}
	var body ast.Node
	for _, d := range parsed.Docs {
		if d.Body == nil || d.Body.Type() == ast.NullType {
			continue
		}
		if body != nil {
			return nil, f.AtNode(d.Body, "one document a file", "a second YAML document")
		}
		body = d.Body
	}
	return body, nil
}

// DecodeYAML decodes a node into v, refusing unknown keys. Errors are *Error.
func DecodeYAML(f *File, n ast.Node, v any) error {
	if n == nil {
		return nil
	}
	if err := yaml.NodeToValue(n, v, yaml.Strict()); err != nil {
		return f.Wrap(err)
	}
	return nil
}

// maxDepth is how deep brackets may be nested. The parser's time grows with the
// square of the depth: 100,000 take it a minute.
const maxDepth = 500

// tooDeep returns the place of the first bracket that is nested too deep, or 0.
// It counts those in strings and comments too, where so many that are never
// closed do not stand either.
func tooDeep(data []byte) (line, column int) {
	depth := 0
	line = 1
	for _, r := range string(data) {
		column++
		switch r {
		case '\n':
			line, column = line+1, 0
		case '[', '{':
			if depth++; depth > maxDepth {
				return line, column
			}
		case ']', '}':
			depth = max(depth-1, 0)
		}
	}
	return 0, 0
}

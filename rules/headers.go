package rules

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
	"golang.org/x/net/http/httpguts"

	"github.com/understudy-proxy/understudy/fixtures"
)

// headers reads the edits of both heads.
func (r *reader) headers(u *rule, e entry) {
	sides, ok := r.mapping("headers", e.keyNode, e.value)
	if !ok {
		return
	}
	for _, side := range sides {
		switch side.key {
		case "request":
			u.effects.editRequest = r.edits(side)
		case "response":
			u.effects.editResponse = r.edits(side)
		default:
			r.unknown(side, "headers", "request", "response")
		}
	}
}

// edits reads set, add and remove. They apply as remove, set, add, whatever
// their order in the file.
func (r *reader) edits(side entry) []fixtures.Edit {
	what := "headers: " + side.key
	ops, ok := r.mapping(what, side.keyNode, side.value)
	if !ok {
		return nil
	}
	var removed, set, added []fixtures.Edit
	for _, op := range ops {
		switch op.key {
		case "remove":
			for _, item := range r.sequence(op.value) {
				if s, ok := r.scalar(what+": remove", "a field's name", op.keyNode, item); ok && r.fieldName(what, item, s.Text) {
					removed = append(removed, fixtures.Edit{Op: fixtures.EditRemove, Name: s.Text})
				}
			}
		case "set":
			for _, f := range r.fields(what+": set", op) {
				set = append(set, fixtures.Edit{Op: fixtures.EditSet, Name: f.Name, Value: f.Value})
			}
		case "add":
			for _, f := range r.fields(what+": add", op) {
				added = append(added, fixtures.Edit{Op: fixtures.EditAdd, Name: f.Name, Value: f.Value})
			}
		default:
			r.unknown(op, what, "set", "add", "remove")
		}
	}
	// A list under set gives several fields of one name: the first replaces,
	// the others are added.
	for i := range set {
		for _, earlier := range set[:i] {
			if strings.EqualFold(earlier.Name, set[i].Name) {
				set[i].Op = fixtures.EditAdd
			}
		}
	}
	return append(append(removed, set...), added...)
}

// fields reads name: value pairs; a list of values repeats the field.
func (r *reader) fields(what string, e entry) fixtures.Header {
	entries, ok := r.mapping(what, e.keyNode, e.value)
	if !ok {
		return nil
	}
	var h fixtures.Header
	for _, f := range entries {
		if !r.fieldName(what, f.keyNode, f.key) {
			continue
		}
		for _, item := range r.sequence(f.value) {
			s, ok := r.scalar(what+": "+f.key, "a text", f.keyNode, item)
			if !ok {
				continue
			}
			if !httpguts.ValidHeaderFieldValue(s.Text) {
				r.fail(item, "", "%s: %s: a field's value holds no control characters", what, f.key)
				continue
			}
			h.Add(f.key, strings.TrimSpace(s.Text))
		}
	}
	return h
}

func (r *reader) fieldName(what string, n ast.Node, name string) bool {
	if httpguts.ValidHeaderFieldName(name) {
		return true
	}
	r.fail(n, "", "%s: %q is no field name", what, shorten(name))
	return false
}

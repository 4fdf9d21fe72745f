package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/ohler55/ojg/jp"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// finding is what is wrong at a character of an expression.
type finding struct {
	at        int
	msg, hint string
}

// binder walks an expression once, children first, and puts calls to the
// environment's functions in place of its names, and distributions in place of
// their constructors. It remembers the first thing that is wrong.
type binder struct {
	opts *Options
	uses uses
	err  *finding
}

func (b *binder) fail(n ast.Node, hint, format string, args ...any) {
	if b.err == nil {
		b.err = &finding{n.Location().From, fmt.Sprintf(format, args...), hint}
	}
}

// Visit implements ast.Visitor.
func (b *binder) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if n.Value == "$env" {
			b.fail(n, "", "unknown name \"$env\"")
		}
		if def, ok := names[n.Value]; ok && !def.call {
			b.bind(node, n.Value, def, nil)
		}
	case *ast.MemberNode:
		b.member(node, n)
	case *ast.CallNode:
		b.call(node, n)
	case *ast.BuiltinNode:
		b.builtin(node, n)
	case *ast.VariableDeclaratorNode:
		if slices.Contains(topNames(), n.Name) {
			b.fail(n, "choose another name", "%q has a meaning already", n.Name)
		}
	case *ast.PredicateNode:
		inner := loops(0)
		ast.Walk(&n.Node, &inner)
		if inner > 0 {
			b.fail(n, "", "a loop inside a loop is refused: it may take too long")
		}
	}
}

// loops counts predicates.
type loops int

// Visit implements ast.Visitor.
func (l *loops) Visit(node *ast.Node) {
	if _, ok := (*node).(*ast.PredicateNode); ok {
		*l++
	}
}

func (b *binder) bind(node *ast.Node, path string, def name, args []ast.Node) {
	b.uses |= def.uses
	callee, scope := &ast.IdentifierNode{Value: internalName(path)}, &ast.IdentifierNode{Value: "$env"}
	callee.SetLocation((*node).Location())
	scope.SetLocation((*node).Location())
	ast.Patch(node, &ast.CallNode{Callee: callee, Arguments: append([]ast.Node{scope}, args...)})
}

// memberPath is "request.method" for such a node, and whether it is in a group.
func memberPath(n *ast.MemberNode) (path, group, member string, ok bool) {
	base, isName := n.Node.(*ast.IdentifierNode)
	property, isConst := n.Property.(*ast.StringNode)
	if !isName || !isConst || groups[base.Value] == nil {
		return "", "", "", false
	}
	return base.Value + "." + property.Value, base.Value, property.Value, true
}

func (b *binder) member(node *ast.Node, n *ast.MemberNode) {
	path, group, member, ok := memberPath(n)
	if !ok {
		return
	}
	def, known := names[path]
	switch {
	case !known:
		members := slices.Sorted(slices.Values(groups[group]))
		b.fail(n, group+" has "+strings.Join(members, ", "), "%s has no %q%s", group, member, meant(member, members))
	case !def.call:
		b.bind(node, path, def, nil)
	}
}

func (b *binder) call(node *ast.Node, n *ast.CallNode) {
	switch callee := n.Callee.(type) {
	case *ast.MemberNode:
		path, _, _, ok := memberPath(callee)
		if !ok {
			return
		}
		if len(n.Arguments) != 1 {
			b.fail(callee, fmt.Sprintf(`such as %s("name")`, path), "%s wants one text, got %d arguments", path, len(n.Arguments))
			return
		}
		if path == "request.json" && !b.jsonPath(&n.Arguments[0]) {
			return
		}
		b.bind(node, path, names[path], n.Arguments)
	case *ast.CallNode:
		if inner, ok := callee.Callee.(*ast.IdentifierNode); ok && strings.HasPrefix(inner.Value, ".") {
			b.fail(callee, "leave the parentheses out", "%s is a value, not a function", inner.Value[1:])
		}
	case *ast.IdentifierNode:
		b.function(node, n, callee)
	}
}

func (b *binder) function(node *ast.Node, n *ast.CallNode, callee *ast.IdentifierNode) {
	if callee.Value == "now" {
		b.fail(callee, "elapsed is the time since the run began", "now() is refused: the same seed would not give the same plan")
		return
	}
	if callee.Value == "rand" {
		if len(n.Arguments) != 0 {
			b.fail(callee, "", "rand wants no arguments, got %d", len(n.Arguments))
			return
		}
		b.bind(node, "rand", names["rand"], nil)
		return
	}
	build, ok := constructors[callee.Value]
	if !ok {
		return
	}
	if len(n.Arguments) != 2 {
		b.fail(callee, "", "%s wants 2 arguments, got %d", callee.Value, len(n.Arguments))
		return
	}
	var d timing.Distribution
	if d = build(b, n); b.err != nil {
		return
	}
	constant := &ast.ConstantNode{Value: &drawn{d}}
	constant.SetLocation(n.Location())
	draw := &ast.IdentifierNode{Value: drawName}
	draw.SetLocation(n.Location())
	scope := &ast.IdentifierNode{Value: "$env"}
	scope.SetLocation(n.Location())
	ast.Patch(node, &ast.CallNode{Callee: draw, Arguments: []ast.Node{scope, constant}})
}

// jsonPath parses request.json's argument at load.
func (b *binder) jsonPath(n *ast.Node) bool {
	const example = `such as request.json("$.user.id")`
	path, ok := (*n).(*ast.StringNode)
	if !ok {
		b.fail(*n, example, "request.json wants a path that is known at load")
		return false
	}
	x, err := jp.ParseString(path.Value)
	if err != nil {
		b.fail(*n, example, "request.json: %s", err)
		return false
	}
	ast.Patch(n, &ast.ConstantNode{Value: &jsonPath{x}})
	return true
}

// builtin checks durations at load rather than when the first request comes.
func (b *binder) builtin(node *ast.Node, n *ast.BuiltinNode) {
	if n.Name != "duration" || len(n.Arguments) != 1 {
		return
	}
	text, ok := n.Arguments[0].(*ast.StringNode)
	if !ok {
		return
	}
	d, err := time.ParseDuration(text.Value)
	if err != nil {
		b.fail(text, durationHint, "duration: want a duration such as \"50ms\", got %q%s", shorten(text.Value), unknownUnit(text.Value))
		return
	}
	ast.Patch(node, &ast.ConstantNode{Value: d})
}

// leftovers finds names that were used as no name of theirs can be: a group
// without a member, a function that is not called.
type leftovers binder

// Visit implements ast.Visitor.
func (l *leftovers) Visit(node *ast.Node) {
	b := (*binder)(l)
	switch n := (*node).(type) {
	case *ast.MemberNode:
		// Children come first: the group below it was reported already, less well.
		if path, _, _, ok := memberPath(n); ok {
			b.err = nil
			b.fail(n, fmt.Sprintf(`such as %s("name")`, path), "%s is a function", path)
		}
	case *ast.IdentifierNode:
		if members := groups[n.Value]; members != nil {
			members = slices.Sorted(slices.Values(members))
			b.fail(n, n.Value+" has "+strings.Join(members, ", "), "%s is no value by itself", n.Value)
		}
	}
}

// topNames are the names that begin a path, and the functions of ours.
func topNames() []string {
	top := slices.Collect(maps.Keys(groups))
	for n := range names {
		if !strings.Contains(n, ".") {
			top = append(top, n)
		}
	}
	return slices.Sorted(slices.Values(append(top, slices.Collect(maps.Keys(constructors))...)))
}

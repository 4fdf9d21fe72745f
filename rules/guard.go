package rules

import (
	"slices"

	"github.com/expr-lang/expr/ast"
)

// guards are the conjuncts of a condition that the index decides. A nil list
// lets everything through.
type guards struct {
	methods  []string
	hosts    []string // without port
	paths    []string // equal to one of them
	prefixes []string // or beginning with one of them; only one of paths and prefixes is set
	uses     uses     // of the whole condition
}

// extractGuards takes a bound condition apart at its topmost &&: what compares
// method, host or path with constants becomes a guard, the first one for each;
// the rest is joined again. A nil rest is always true.
func extractGuards(n ast.Node) (g guards, rest ast.Node) {
	for _, c := range conjuncts(n, nil) {
		if g.take(c) {
			continue
		}
		if rest == nil {
			rest = c
			continue
		}
		joined := &ast.BinaryNode{Operator: "&&", Left: rest, Right: c}
		joined.SetLocation(c.Location())
		rest = joined
	}
	return g, rest
}

func conjuncts(n ast.Node, into []ast.Node) []ast.Node {
	if b, ok := n.(*ast.BinaryNode); ok && (b.Operator == "&&" || b.Operator == "and") {
		return conjuncts(b.Right, conjuncts(b.Left, into))
	}
	return append(into, n)
}

// take makes a guard of a conjunct if it can.
func (g *guards) take(n ast.Node) bool {
	b, ok := n.(*ast.BinaryNode)
	if !ok {
		return false
	}
	name, values := boundName(b.Left), constants(b.Right)
	if b.Operator == "==" && name == "" {
		name, values = boundName(b.Right), constants(b.Left)
	}
	if _, list := b.Right.(*ast.ArrayNode); list != (b.Operator == "in") || values == nil {
		return false
	}
	var into *[]string
	switch {
	case b.Operator == "startsWith" && name == "request.path" && g.paths == nil:
		into = &g.prefixes
	case b.Operator != "==" && b.Operator != "in":
		return false
	case name == "request.method":
		into = &g.methods
	case name == "request.host":
		into = &g.hosts
	case name == "request.path" && g.prefixes == nil:
		into = &g.paths
	}
	if into == nil || *into != nil {
		return false
	}
	*into = values
	return true
}

// boundName is the environment's name that n was bound to, or "".
func boundName(n ast.Node) string {
	call, ok := n.(*ast.CallNode)
	if !ok || len(call.Arguments) != 1 {
		return ""
	}
	callee, ok := call.Callee.(*ast.IdentifierNode)
	if !ok || callee.Value == "" || callee.Value[0] != '.' {
		return ""
	}
	return callee.Value[1:]
}

// constants are the texts that n is made of, one or a list; nil where it is
// anything else.
func constants(n ast.Node) []string {
	switch n := n.(type) {
	case *ast.StringNode:
		return []string{n.Value}
	case *ast.ArrayNode:
		values := []string{}
		for _, item := range n.Nodes {
			s, ok := item.(*ast.StringNode)
			if !ok {
				return nil
			}
			values = append(values, s.Value)
		}
		return values
	}
	return nil
}

// admitsHost reports whether the host guard lets host through.
func (g *guards) admitsHost(host string) bool {
	return g.hosts == nil || slices.Contains(g.hosts, host)
}

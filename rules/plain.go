package rules

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
)

// plain is a condition as a function. It says what the VM would say of the same
// condition, cannot fail, and allocates nothing of its own, where the VM boxes each
// text (BenchmarkPlan). Only what is compared with constants or with names, and joined
// by and, or and not, is made into one; the VM has the rest.
type plain func(*scope) bool

// plainCondition makes a bound and checked condition plain, or as many of its
// conjuncts as it can from the first on: then whole is false, and the condition does
// not hold where they do not.
func plainCondition(n ast.Node) (p plain, whole bool) {
	for _, c := range conjuncts(n, nil) {
		next := plainly(c)
		if next == nil {
			return p, false
		}
		p = both(p, next)
	}
	return p, true
}

// both is a and b; a may be nil.
func both(a, b plain) plain {
	if a == nil {
		return b
	}
	return func(s *scope) bool { return a(s) && b(s) }
}

// plainly is nil for what is not plain.
func plainly(n ast.Node) plain {
	switch n := n.(type) {
	case *ast.UnaryNode:
		if p := plainly(n.Node); p != nil && (n.Operator == "!" || n.Operator == "not") {
			return func(s *scope) bool { return !p(s) }
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "&&", "and":
			if a, b := plainly(n.Left), plainly(n.Right); a != nil && b != nil {
				return both(a, b)
			}
		case "||", "or":
			if a, b := plainly(n.Left), plainly(n.Right); a != nil && b != nil {
				return func(s *scope) bool { return a(s) || b(s) }
			}
		case "in":
			return among(n)
		case "contains", "startsWith", "endsWith", "matches":
			return ofTexts(n)
		default:
			return compared(n)
		}
	}
	return nil
}

// compared takes two texts, two numbers or two durations.
func compared(n *ast.BinaryNode) plain {
	if a, b := text(n.Left), text(n.Right); a != nil && b != nil {
		return ordered(n.Operator, a, b)
	}
	if a, b := whole(n.Left), whole(n.Right); a != nil && b != nil {
		return ordered(n.Operator, a, b)
	}
	if a, b := span(n.Left), span(n.Right); a != nil && b != nil {
		return ordered(n.Operator, a, b)
	}
	if a, b := number(n.Left), number(n.Right); a != nil && b != nil {
		return ordered(n.Operator, a, b)
	}
	return nil
}

func ordered[T cmp.Ordered](operator string, a, b func(*scope) T) plain {
	switch operator {
	case "==":
		return func(s *scope) bool { return a(s) == b(s) }
	case "!=":
		return func(s *scope) bool { return a(s) != b(s) }
	case "<":
		return func(s *scope) bool { return a(s) < b(s) }
	case "<=":
		return func(s *scope) bool { return a(s) <= b(s) }
	case ">":
		return func(s *scope) bool { return a(s) > b(s) }
	case ">=":
		return func(s *scope) bool { return a(s) >= b(s) }
	}
	return nil
}

// among takes a text and a list of constants.
func among(n *ast.BinaryNode) plain {
	a, list := text(n.Left), constants(n.Right)
	if _, isList := n.Right.(*ast.ArrayNode); a == nil || !isList || len(list) == 0 {
		return nil
	}
	return func(s *scope) bool { return slices.Contains(list, a(s)) }
}

func ofTexts(n *ast.BinaryNode) plain {
	a, b := text(n.Left), text(n.Right)
	if a == nil || b == nil {
		return nil
	}
	switch n.Operator {
	case "contains":
		return func(s *scope) bool { return strings.Contains(a(s), b(s)) }
	case "startsWith":
		return func(s *scope) bool { return strings.HasPrefix(a(s), b(s)) }
	case "endsWith":
		return func(s *scope) bool { return strings.HasSuffix(a(s), b(s)) }
	}
	pattern, constant := n.Right.(*ast.StringNode)
	if !constant {
		return nil
	}
	re, err := regexp.Compile(pattern.Value)
	if err != nil {
		return nil // the compiler says so
	}
	return func(s *scope) bool { return re.MatchString(a(s)) }
}

// text, whole, span and number are values of their kinds, nil for others. A whole
// number is a number, too.
func text(n ast.Node) textOf {
	if c, ok := n.(*ast.StringNode); ok {
		return constantly(c.Value)
	}
	if of, ok := named[textOf](n, 0); ok {
		return of
	}
	of, ok := named[textFor](n, 1)
	if !ok {
		return nil
	}
	key, ok := n.(*ast.CallNode).Arguments[1].(*ast.StringNode)
	if !ok {
		return nil
	}
	return func(s *scope) string { return of(s, key.Value) }
}

func whole(n ast.Node) wholeOf {
	switch c := n.(type) {
	case *ast.IntegerNode:
		return constantly(c.Value)
	case *ast.UnaryNode:
		if c, ok := c.Node.(*ast.IntegerNode); ok && n.(*ast.UnaryNode).Operator == "-" {
			return constantly(-c.Value)
		}
	}
	of, _ := named[wholeOf](n, 0)
	return of
}

func span(n ast.Node) spanOf {
	if c, ok := n.(*ast.ConstantNode); ok {
		if d, ok := c.Value.(time.Duration); ok {
			return constantly(d)
		}
		return nil
	}
	of, _ := named[spanOf](n, 0)
	return of
}

func number(n ast.Node) realOf {
	if c, ok := n.(*ast.FloatNode); ok {
		return constantly(c.Value)
	}
	if i := whole(n); i != nil {
		return func(s *scope) float64 { return float64(i(s)) }
	}
	of, _ := named[realOf](n, 0)
	return of
}

func constantly[T any](v T) func(*scope) T { return func(*scope) T { return v } }

// named is what tells the environment's name that n was bound to, with so many
// arguments beside the scope.
func named[T any](n ast.Node, arguments int) (of T, ok bool) {
	call, isCall := n.(*ast.CallNode)
	if !isCall || len(call.Arguments) != arguments+1 {
		return of, false
	}
	callee, isName := call.Callee.(*ast.IdentifierNode)
	if !isName || callee.Value == "" || callee.Value[0] != '.' {
		return of, false
	}
	of, ok = names[callee.Value[1:]].of.(T)
	return of, ok
}

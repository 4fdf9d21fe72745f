package rules

import (
	"errors"
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// constructors build the distributions that a delay may name. Each takes two
// arguments that are known at load; on error it leaves a finding and returns nil.
var constructors = map[string]func(*binder, *ast.CallNode) timing.Distribution{
	"uniform":   ofDurations(timing.Uniform),
	"normal":    ofDurations(timing.Normal),
	"lognormal": ofDurations(timing.LogNormal),
	"pareto":    pareto,
	"empirical": empirical,
}

func ofDurations(build func(a, b time.Duration) (timing.Distribution, error)) func(*binder, *ast.CallNode) timing.Distribution {
	return func(b *binder, n *ast.CallNode) timing.Distribution {
		return b.built(n, func() (timing.Distribution, error) {
			return build(b.durationArgument(n, 0), b.durationArgument(n, 1))
		})
	}
}

func pareto(b *binder, n *ast.CallNode) timing.Distribution {
	var alpha float64
	switch a := n.Arguments[1].(type) {
	case *ast.IntegerNode:
		alpha = float64(a.Value)
	case *ast.FloatNode:
		alpha = a.Value
	default:
		b.fail(a, `such as pareto("10ms", 1.5)`, "pareto: want a number for the shape")
	}
	return b.built(n, func() (timing.Distribution, error) { return timing.Pareto(b.durationArgument(n, 0), alpha) })
}

func empirical(b *binder, n *ast.CallNode) timing.Distribution {
	cassette, ok1 := n.Arguments[0].(*ast.StringNode)
	operation, ok2 := n.Arguments[1].(*ast.StringNode)
	if !ok1 || !ok2 {
		b.fail(n, `such as empirical("cassettes/checkout", "POST /checkout")`, "empirical: want a cassette and an operation, as texts")
		return nil
	}
	return b.built(n, func() (timing.Distribution, error) {
		if b.opts.Empirical == nil {
			return nil, errors.New("empirical: there are no cassettes here to draw from")
		}
		d, err := b.opts.Empirical(cassette.Value, operation.Value)
		if err == nil && d == nil {
			err = errors.New("empirical: nothing was recorded of it")
		}
		return d, err
	})
}

// built reports an error of build at the call, unless an argument's came first.
func (b *binder) built(n *ast.CallNode, build func() (timing.Distribution, error)) timing.Distribution {
	d, err := build()
	if err != nil {
		b.fail(n, "", "%s", err)
		return nil
	}
	return d
}

func (b *binder) durationArgument(n *ast.CallNode, i int) time.Duration {
	name := n.Callee.(*ast.IdentifierNode).Value
	switch a := n.Arguments[i].(type) {
	case *ast.StringNode:
		d, err := parseDuration(a.Value)
		if err != nil {
			b.fail(a, durationHint, "%s: %s", name, err)
		}
		return d
	case *ast.ConstantNode:
		if d, ok := a.Value.(time.Duration); ok {
			return d
		}
	}
	b.fail(n.Arguments[i], "", "%s: want a duration such as \"50ms\" that is known at load", name)
	return 0
}

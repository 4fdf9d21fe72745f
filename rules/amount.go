package rules

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// amount is a delay: drawn from a distribution, a fixed one included, or
// computed by an expression.
type amount struct {
	from timing.Distribution // nil where expr is not
	expr *expression
}

func (a *amount) uses() uses {
	if a.expr == nil {
		return 0
	}
	return a.expr.uses
}

// compileAmount reads "50ms", a distribution, or an expression that gives a duration.
func compileAmount(s *place.Scalar, opts *Options) (*amount, *place.Error) {
	text := strings.TrimSpace(s.Text)
	d, err := parseDuration(text)
	if err == nil {
		fixed, err := timing.Fixed(d)
		if err != nil {
			return nil, s.Start(durationHint, "delay: %s", err)
		}
		return &amount{from: fixed}, nil
	}
	if isWord(text) {
		return nil, s.Start(durationHint, "delay: %s", err)
	}
	c, perr := check("delay", s, opts)
	if perr != nil {
		return nil, perr
	}
	if c.result != reflect.TypeFor[time.Duration]() && c.result.Kind() != reflect.Interface {
		return nil, s.Start(`such as "50ms", lognormal("80ms", "900ms") or load.inflight * duration("1ms")`,
			"delay: want a duration, got %s", typeName(c.result))
	}
	if from := soleDistribution(c.tree.Node); from != nil {
		return &amount{from: from}, nil
	}
	x, perr := c.compile("delay", s)
	if perr != nil {
		return nil, perr
	}
	return &amount{expr: x}, nil
}

// isWord reports whether text is a number or a single unknown word, which is
// a duration gone wrong rather than an expression.
func isWord(text string) bool {
	if _, err := strconv.ParseFloat(text, 64); err == nil || text == "" {
		return true
	}
	_, known := names[text]
	for i, c := range strings.TrimPrefix(text, "-") {
		if !(c == '_' || c == 'µ' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '.' || c >= '0' && c <= '9') {
			return false
		}
		if i == 0 && c >= '0' && c <= '9' {
			return true
		}
	}
	return !known && !strings.Contains(text, ".")
}

// soleDistribution is the distribution that is the whole expression, or nil.
func soleDistribution(n ast.Node) timing.Distribution {
	call, ok := n.(*ast.CallNode)
	if !ok {
		return nil
	}
	if callee, ok := call.Callee.(*ast.IdentifierNode); !ok || callee.Value != drawName {
		return nil
	}
	return call.Arguments[1].(*ast.ConstantNode).Value.(*drawn).Distribution
}

// value draws or computes the delay, from 0 to timing.Longest where computed.
func (a *amount) value(s *scope) (time.Duration, error) {
	if a.from != nil {
		return max(a.from.Quantile(s.draw()), 0), nil
	}
	v, err := a.expr.run(s)
	if err != nil {
		return 0, err
	}
	d, ok := v.(time.Duration)
	if !ok {
		return 0, fmt.Errorf("want a duration, got %T", v)
	}
	return min(max(d, 0), timing.Longest), nil
}

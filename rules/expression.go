package rules

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/optimizer"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/timing"
)

const (
	maxText  = 4096 // characters of an expression; the parser recurses on them
	maxNodes = 500  // of its tree
)

// expression is a compiled expression. It is immutable.
type expression struct {
	program *vm.Program
	uses    uses
	// plain is a condition, or what it begins with, without the VM; nil for neither.
	plain plain
	whole bool // plain is all of it
}

// noEnvironment makes the checker strict: every name is a function given to
// the compiler, and an unknown one is an error at load.
type noEnvironment struct{}

// drawn is a distribution inside a compiled program.
type drawn struct{ timing.Distribution }

const drawName = ".draw"

func newConfig() *conf.Config {
	c := conf.New(noEnvironment{})
	c.MaxNodes = maxNodes
	c.Disabled["now"] = true
	delete(c.Builtins, "now")
	for n, def := range names {
		call, signature := def.function(n)
		expr.Function(internalName(n), call, signature)(c)
	}
	expr.Function(drawName, func(params ...any) (any, error) {
		return params[1].(*drawn).Quantile(params[0].(*scope).draw()), nil
	}, new(func(any, *drawn) time.Duration))(c)
	return c
}

// checked is an expression that is bound and typed, and not yet compiled.
type checked struct {
	tree   *parser.Tree
	config *conf.Config
	uses   uses
	result reflect.Type
}

// check parses, binds and types s. key is the YAML key, for errors.
func check(key string, s *place.Scalar, opts *Options) (*checked, *place.Error) {
	if len([]rune(s.Text)) > maxText {
		return nil, s.Start("", "%s: want at most %d characters, got %d", key, maxText, len([]rune(s.Text)))
	}
	c := &checked{config: newConfig()}
	var err error
	if c.tree, err = parser.ParseWithConfig(s.Text, c.config); err != nil {
		return nil, locate(key, s, err)
	}
	b := &binder{opts: opts}
	ast.Walk(&c.tree.Node, b)
	if b.err == nil {
		ast.Walk(&c.tree.Node, (*leftovers)(b))
	}
	if b.err != nil {
		return nil, s.At(b.err.at, b.err.hint, "%s: %s", key, b.err.msg)
	}
	c.uses = b.uses
	if c.result, err = checker.Check(c.tree, c.config); err != nil {
		return nil, locate(key, s, err)
	}
	return c, nil
}

// compile finishes what is left of the tree.
func (c *checked) compile(key string, s *place.Scalar) (*expression, *place.Error) {
	if err := optimizer.Optimize(&c.tree.Node, c.config); err != nil {
		return nil, locate(key, s, err)
	}
	program, err := compiler.Compile(c.tree, c.config)
	if err != nil {
		return nil, locate(key, s, err)
	}
	return &expression{program: program, uses: c.uses}, nil
}

// locate turns an error of the compiler into a finding inside s.
func locate(key string, s *place.Scalar, err error) *place.Error {
	var e *file.Error
	if !errors.As(err, &e) {
		return s.Start("", "%s: %s", key, err)
	}
	msg, hint := plainWords(e.Message)
	if strings.HasPrefix(e.Message, "bad number syntax") {
		hint = bareDuration(key, s.Text)
	}
	return s.At(e.From, hint, "%s: %s", key, msg)
}

// bare is a duration without quotes, or what comes before it.
var bare = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`"[^"]*"|'[^']*'|\b(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h))+\b`)
})

// bareDuration is the remedy for durations that stand in an expression without
// quotes; "" where none does.
func bareDuration(key, text string) string {
	first := ""
	quoted := bare().ReplaceAllStringFunc(text, func(m string) string {
		if m[0] == '"' || m[0] == '\'' {
			return m
		}
		if first == "" {
			first = m
		}
		return strconv.Quote(m)
	})
	name, _, _ := strings.Cut(text, "(")
	switch _, builds := constructors[strings.TrimSpace(name)]; {
	case first == "":
		return ""
	case key == "delay" && builds:
		return "quote durations: " + shorten(strings.TrimSpace(quoted))
	}
	return fmt.Sprintf("write a duration as duration(%q)", first)
}

// plainWords rewrites the compiler's messages into what the writer of a rule
// needs, with a remedy where there is one.
func plainWords(msg string) (text, hint string) {
	if n, ok := strings.CutPrefix(msg, "unknown name "); ok {
		return fmt.Sprintf("unknown name %q%s", n, meant(n, topNames())), "names are " + strings.Join(topNames(), ", ")
	}
	if msg == `unexpected token Operator("=")` {
		return `unexpected "="`, "use == to compare"
	}
	if strings.Contains(msg, "exceeds maximum allowed nodes") {
		return fmt.Sprintf("want at most %d operators, names and values", maxNodes), "split it into several rules"
	}
	if strings.Contains(msg, "time.Duration") {
		hint = `write a duration as duration("50ms")`
	}
	for _, r := range [][2]string{
		{"time.Duration", "duration"}, {"interface {}", "any"}, {"float64", "number"},
		{"unexpected token EOF", "unexpected end"}, {"call .", "call "}, {"mismatched types", "cannot mix"},
	} {
		msg = strings.ReplaceAll(msg, r[0], r[1])
	}
	return msg, hint
}

// compileCondition compiles a condition. The guards are the part of it that the
// index decides; the expression is the rest, nil where nothing is left.
func compileCondition(s *place.Scalar, opts *Options) (*expression, guards, *place.Error) {
	c, err := check("when", s, opts)
	if err != nil {
		return nil, guards{}, err
	}
	if k := c.result.Kind(); k != reflect.Bool && k != reflect.Interface {
		return nil, guards{}, s.Start("compare it with something", "when: want true or false, got %s", typeName(c.result))
	}
	g, rest := extractGuards(c.tree.Node)
	g.uses = c.uses
	if b, ok := rest.(*ast.BoolNode); rest == nil || ok && b.Value {
		return nil, g, nil
	}
	c.tree.Node = rest
	if _, cerr := checker.Check(c.tree, c.config); cerr != nil {
		return nil, guards{}, locate("when", s, cerr)
	}
	p, whole := plainCondition(rest) // before the compiler rewrites it
	x, err := c.compile("when", s)
	if err != nil {
		return nil, guards{}, err
	}
	x.plain, x.whole = p, whole
	return x, g, nil
}

func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a duration"
	case t.Kind() == reflect.String:
		return "a text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int || t.Kind() == reflect.Float64:
		return "a number"
	case t.Kind() == reflect.Slice:
		return "a list"
	}
	return t.String()
}

// holds evaluates a condition, by the VM only where it must.
func (x *expression) holds(s *scope) (bool, error) {
	if x.plain != nil {
		if holds := x.plain(s); x.whole || !holds {
			return holds, nil
		}
		s.from.n = 0 // the VM begins again
	}
	return x.evaluated(s)
}

// evaluated is what the VM says of a condition.
func (x *expression) evaluated(s *scope) (bool, error) {
	v, err := x.run(s)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("want true or false, got %T", v)
	}
	return b, nil
}

// run evaluates the program. Its errors are one line: the VM's own carry a
// picture of the expression, which the rule's place makes up for.
func (x *expression) run(s *scope) (any, error) {
	v, err := s.vm.Run(x.program, s)
	if e, ok := errors.AsType[*file.Error](err); ok {
		msg, _ := plainWords(e.Message)
		err = fmt.Errorf("%s (at character %d)", msg, e.From+1)
	}
	return v, err
}

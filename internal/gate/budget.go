package gate

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/internal/place"
)

// Limits are what one scenario may cost; nil means no limit.
type Limits struct {
	AddedP50        *time.Duration // most, at the median
	AddedP99        *time.Duration // most, at the 99th percentile
	ThroughputRatio *float64       // least, proxied over direct
	CPUPerRequest   *time.Duration // most, of the proxy's process
}

func (Limits) most(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	ns := float64(*d)
	return &ns
}

// Budget holds limits by scenario. A nil Budget has none.
type Budget struct {
	Scenarios map[string]Limits
	file      *place.File
	keys      map[string]ast.Node // where each scenario is named
}

const budgetHint = `scenarios: {NAME: {added_p50: 200us, added_p99: 2ms, throughput_ratio: 0.4, cpu_per_request: 150us}}`

// LoadBudget reads a budget file.
func LoadBudget(path string) (*Budget, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read budget: %w", err)
	}
	return ParseBudget(path, data)
}

// ParseBudget reads a budget; name is the file's, for the errors: *place.Error,
// or place.List with all that was found.
//
//	scenarios:
//	  reverse:
//	    added_p50: 200us
//	    added_p99: 2ms
//	    throughput_ratio: 0.4
//	    cpu_per_request: 150us
func ParseBudget(name string, data []byte) (*Budget, error) {
	f := place.NewFile(name, data)
	root, err := place.ParseYAML(f, data)
	if err != nil {
		return nil, err
	}
	b := &Budget{Scenarios: map[string]Limits{}, file: f, keys: map[string]ast.Node{}}
	p := &budgetParser{file: f}
	if root == nil {
		return nil, f.At(1, 1, budgetHint, "budget: want scenarios, the file is empty")
	}
	p.mapping(root, "budget", func(key string, at, value ast.Node) {
		if key != "scenarios" {
			p.add(at, "the only key here is scenarios", "budget: unknown key %q", key)
			return
		}
		p.mapping(value, "scenarios", func(scenario string, at, value ast.Node) {
			b.Scenarios[scenario] = p.limits(scenario, value)
			b.keys[scenario] = at
		})
	})
	if err := p.found.Err(); err != nil {
		return nil, err
	}
	return b, nil
}

type budgetParser struct {
	file  *place.File
	found place.List
}

func (p *budgetParser) add(n ast.Node, hint, format string, args ...any) {
	p.found = append(p.found, p.file.AtNode(n, hint, format, args...))
}

// mapping calls each for the entries of n, and finds what is none.
func (p *budgetParser) mapping(n ast.Node, what string, each func(key string, at, value ast.Node)) {
	m, ok := n.(ast.MapNode)
	if !ok {
		p.add(n, budgetHint, "%s: want a mapping, got %s", what, describe(n))
		return
	}
	seen := map[string]bool{}
	for it := m.MapRange(); it.Next(); {
		key, ok := it.Key().(*ast.StringNode)
		if !ok {
			p.add(it.Key(), "", "%s: want a plain name as key, got %s", what, describe(it.Key()))
			continue
		}
		if seen[key.Value] {
			p.add(key, "", "%s: %q is there twice", what, key.Value)
			continue
		}
		seen[key.Value] = true
		each(key.Value, key, it.Value())
	}
}

func (p *budgetParser) limits(scenario string, n ast.Node) Limits {
	var l Limits
	p.mapping(n, scenario, func(key string, at, value ast.Node) {
		switch key {
		case "added_p50":
			l.AddedP50 = p.duration(key, value)
		case "added_p99":
			l.AddedP99 = p.duration(key, value)
		case "cpu_per_request":
			l.CPUPerRequest = p.duration(key, value)
		case "throughput_ratio":
			l.ThroughputRatio = p.ratio(key, value)
		default:
			p.add(at, "known keys: added_p50, added_p99, throughput_ratio, cpu_per_request", "%s: unknown key %q", scenario, key)
		}
	})
	return l
}

func (p *budgetParser) duration(key string, n ast.Node) *time.Duration {
	text := describe(n)
	d, err := time.ParseDuration(text)
	if _, ok := n.(ast.ScalarNode); !ok || err != nil || d <= 0 {
		p.add(n, "a number needs a unit: us, ms, s", `%s: want a duration above 0 such as "200us", got %q`, key, text)
		return nil
	}
	return &d
}

func (p *budgetParser) ratio(key string, n ast.Node) *float64 {
	text := describe(n)
	v, err := strconv.ParseFloat(text, 64)
	if _, ok := n.(ast.ScalarNode); !ok || err != nil || !(v > 0 && v <= 1) {
		p.add(n, "0.4 allows the proxy to lose 60 % of the direct throughput", "%s: want a number above 0 and up to 1, got %q", key, text)
		return nil
	}
	return &v
}

// describe is a node's text as far as it fits an error.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case nil:
		return "nothing"
	case *ast.NullNode:
		return "nothing"
	case *ast.StringNode:
		return n.Value
	case ast.ScalarNode:
		return n.GetToken().Value
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	}
	return strings.ToLower(n.Type().String())
}

// Check refuses limits on scenarios that are not run: a typing error there
// would be a gate that is always open.
func (b *Budget) Check(scenarios []string) error {
	if b == nil {
		return nil
	}
	var found place.List
	for _, name := range slices.Sorted(maps.Keys(b.Scenarios)) {
		if slices.Contains(scenarios, name) {
			continue
		}
		hint := "scenarios: " + strings.Join(scenarios, ", ")
		if b.file == nil { // made in code
			return fmt.Errorf("budget: no scenario %q (%s)", name, hint)
		}
		found = append(found, b.file.AtNode(b.keys[name], hint, "budget: no scenario %q", name))
	}
	return found.Err()
}

func (b *Budget) limits(scenario string) Limits {
	if b == nil {
		return Limits{}
	}
	return b.Scenarios[scenario]
}

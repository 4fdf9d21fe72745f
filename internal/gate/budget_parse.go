package gate

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

const (
	budgetHint = `scenarios: {NAME: {added_p50: 200us, throughput_ratio: 0.4, cpu_per_request: 150us}}, regression: 5%`
	limitHint  = "known keys: added_p50, added_p99, added_p999, throughput_ratio, cpu_per_request, allocs_per_request, rss, regression, connections"
)

// ParseBudget reads a budget; name is the file's, for the errors: *place.Error,
// or place.List with all that was found. The format is docs/gate.md's.
func ParseBudget(name string, data []byte) (*Budget, error) {
	f := place.NewFile(name, data)
	root, err := place.ParseYAML(f, data)
	if err != nil {
		return nil, err
	}
	if root == nil {
		return nil, f.At(1, 1, budgetHint, "budget: want scenarios, the file is empty")
	}
	b := &Budget{Name: name, Scenarios: map[string]ScenarioBudget{}, Regression: Limits{}, Soak: Limits{}, file: f, keys: map[string]ast.Node{}}
	p := &budgetParser{file: f}
	p.mapping(root, "budget", func(key string, at, value ast.Node) {
		switch key {
		case "regression":
			p.regression(b.Regression, value)
		case "scenarios":
			p.mapping(value, "scenarios", func(scenario string, at, value ast.Node) {
				b.Scenarios[scenario] = p.scenario(scenario, value)
				b.keys[scenario] = at
			})
		case "soak":
			p.mapping(value, "soak", func(key string, at, value ast.Node) { p.growth(b.Soak, key, at, value) })
		default:
			p.add(at, "the keys here are scenarios, regression and soak", "budget: unknown key %q", key)
		}
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
		key := ""
		switch k := it.Key().(type) {
		case *ast.StringNode:
			key = k.Value
		case *ast.IntegerNode:
			key = k.GetToken().Value
		default:
			p.add(it.Key(), "", "%s: want a plain name as key, got %s", what, describe(it.Key()))
			continue
		}
		if seen[key] {
			p.add(it.Key(), "", "%s: %q is there twice", what, key)
			continue
		}
		seen[key] = true
		each(key, it.Key(), it.Value())
	}
}

func (p *budgetParser) scenario(name string, n ast.Node) ScenarioBudget {
	s := ScenarioBudget{Limits: Limits{}, Connections: map[int]Limits{}}
	p.mapping(n, name, func(key string, at, value ast.Node) {
		if key != "connections" {
			p.limit(s.Limits, name, key, at, value)
			return
		}
		p.mapping(value, "connections", func(key string, at, value ast.Node) {
			number, err := strconv.Atoi(key)
			if err != nil || number < 1 {
				p.add(at, "connections: {64: {added_p50: 2ms}}", "connections: want a number above 0, got %q", key)
				return
			}
			s.Connections[number] = Limits{}
			p.mapping(value, "connections", func(key string, at, value ast.Node) {
				p.limit(s.Connections[number], name, key, at, value)
			})
		})
	})
	return s
}

// limit reads one entry into l.
func (p *budgetParser) limit(l Limits, scenario, key string, at, n ast.Node) {
	line := n.GetToken().Position.Line
	switch key {
	case "added_p50", "added_p99", "added_p999", "cpu_per_request":
		text := describe(n)
		d, err := time.ParseDuration(text)
		if !scalar(n) || err != nil || d <= 0 {
			p.add(n, "a number needs a unit: us, ms, s", `%s: want a duration above 0 such as "200us", got %q`, key, text)
			return
		}
		l[key] = Limit{float64(d), line}
	case "throughput_ratio":
		v, ok := parseNumber(n)
		if !ok || !(v > 0 && v <= 1) {
			p.add(n, "0.4 allows the proxy to lose 60 % of the direct throughput", "%s: want a number above 0 and up to 1, got %q", key, describe(n))
			return
		}
		l[key] = Limit{v, line}
	case "allocs_per_request":
		v, ok := parseNumber(n)
		if !ok || !(v >= 0) || math.IsInf(v, 0) {
			p.add(n, "", "%s: want a number, 0 or more, got %q", key, describe(n))
			return
		}
		l[key] = Limit{v, line}
	case "rss":
		v, ok := parseSize(describe(n))
		if !scalar(n) || !ok {
			p.add(n, "units: KB, MB, GB, KiB, MiB, GiB", `%s: want a size such as "80MiB", got %q`, key, describe(n))
			return
		}
		l[key] = Limit{v, line}
	case "regression":
		p.regression(l, n)
	default:
		p.add(at, limitHint, "%s: unknown key %q", scenario, key)
	}
}

// growth reads what a process under soak may grow by in an hour.
func (p *budgetParser) growth(l Limits, key string, at, n ast.Node) {
	var v float64
	var ok bool
	switch key {
	case "rss", "heap":
		if v, ok = parseSize(describe(n)); !scalar(n) || !ok {
			p.add(n, "units: KB, MB, GB, KiB, MiB, GiB", `%s: want a size such as "16MiB", got %q`, key, describe(n))
			return
		}
	case "descriptors", "goroutines", "threads":
		if v, ok = parseNumber(n); !ok || !(v >= 0) || math.IsInf(v, 0) {
			p.add(n, "", "%s: want a number, 0 or more, got %q", key, describe(n))
			return
		}
	default:
		p.add(at, "known keys: rss, heap, descriptors, goroutines, threads", "soak: unknown key %q", key)
		return
	}
	l[key] = Limit{v, n.GetToken().Position.Line}
}

// regression reads a share, for CPU per request and the median latency, or a
// mapping of one each, into limits on the ratios to a baseline.
func (p *budgetParser) regression(l Limits, n ast.Node) {
	share := func(n ast.Node, names ...string) {
		text := describe(n)
		digits, ok := strings.CutSuffix(text, "%")
		v, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if !scalar(n) || !ok || err != nil || !(v > 0 && v <= 1000) {
			p.add(n, "a share needs its sign: 5%", `regression: want a share above 0%% such as "5%%", got %q`, text)
			return
		}
		for _, name := range names {
			l[name] = Limit{1 + v/100, n.GetToken().Position.Line}
		}
	}
	if _, ok := n.(ast.MapNode); !ok {
		share(n, "cpu_ratio", "p50_ratio")
		return
	}
	names := map[string]string{"cpu": "cpu_ratio", "p50": "p50_ratio", "p99": "p99_ratio", "allocs": "allocs_ratio", "rss": "rss_ratio"}
	p.mapping(n, "regression", func(key string, at, value ast.Node) {
		if names[key] == "" {
			p.add(at, "known keys: cpu, p50, p99, allocs, rss", "regression: unknown key %q", key)
			return
		}
		share(value, names[key])
	})
}

func scalar(n ast.Node) bool {
	_, ok := n.(ast.ScalarNode)
	return ok
}

func parseNumber(n ast.Node) (float64, bool) {
	v, err := strconv.ParseFloat(describe(n), 64)
	return v, scalar(n) && err == nil
}

func parseSize(text string) (float64, bool) {
	digits := strings.TrimRight(text, "KMGiB")
	unit := map[string]float64{"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[text[len(digits):]]
	v, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	size := v * unit
	return size, err == nil && size > 0 && !math.IsInf(size, 0)
}

// describe is a node's text as far as it fits an error.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case nil:
		return "nothing"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or an alias, which a budget cannot have"
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

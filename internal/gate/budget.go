package gate

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// Limit is what a metric may be: the most, or the least where less is worse. It is in the metric's
// unit: nanoseconds, a ratio, a count or bytes.
type Limit struct {
	Value float64
	Line  int // in the budget's file; 0 for unknown
}

// Limits are limits by the metrics' names.
type Limits map[string]Limit

// ScenarioBudget is what one scenario may cost.
type ScenarioBudget struct {
	Limits      Limits
	Connections map[int]Limits // for these numbers of connections, in place of those in Limits
}

// Budget holds limits by scenario. A nil Budget has none.
type Budget struct {
	Name       string // of the file, for reports; "" for none
	Regression Limits // for every scenario that has none of its own
	Scenarios  map[string]ScenarioBudget
	Soak       Limits // growth per hour: of rss and heap in bytes, of descriptors, goroutines and threads
	file       *place.File
	keys       map[string]ast.Node // where each scenario is named
}

// LoadBudget reads a budget file.
func LoadBudget(path string) (*Budget, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read budget: %w", err)
	}
	return ParseBudget(path, data)
}

// Check refuses limits on scenarios that nobody knows: a typing error there
// would be a gate that is always open.
func (b *Budget) Check(known []string) error {
	if b == nil {
		return nil
	}
	var found place.List
	for _, name := range b.Names() {
		if slices.Contains(known, name) {
			continue
		}
		hint := "scenarios: " + strings.Join(known, ", ")
		if b.file == nil { // made in code
			return fmt.Errorf("budget: no scenario %q (%s)", name, hint)
		}
		found = append(found, b.file.AtNode(b.keys[name], hint, "budget: no scenario %q", name))
	}
	return found.Err()
}

// Names are the scenarios that have limits of their own, sorted.
func (b *Budget) Names() []string { return slices.Sorted(maps.Keys(b.Scenarios)) }

// limits are those for a scenario with so many connections, the closest first.
func (b *Budget) limits(scenario string, connections int, against Against) Limits {
	all := Limits{}
	if b == nil {
		return all
	}
	s := b.Scenarios[scenario]
	for _, l := range []Limits{b.Regression, s.Limits, s.Connections[connections]} {
		maps.Copy(all, l)
	}
	maps.DeleteFunc(all, func(name string, _ Limit) bool { return !applies(name, against) })
	return all
}

// applies reports whether a limit on a metric makes sense in a run: what a proxy
// adds has no meaning against a baseline, nor a regression against going direct.
func applies(metric string, against Against) bool {
	switch {
	case strings.HasPrefix(metric, "added_"), metric == "throughput_ratio":
		return against == AgainstDirect
	case strings.HasSuffix(metric, "_ratio"):
		return against == AgainstBaseline
	}
	return true
}

// unused names the limits that no report was held against.
func (b *Budget) unused(reports []ScenarioReport) []string {
	if b == nil {
		return nil
	}
	measured := func(name string, n int) bool {
		return slices.ContainsFunc(reports, func(sr ScenarioReport) bool {
			return sr.Name == name && (n == 0 || sr.Connections == n)
		})
	}
	var unused []string
	for _, name := range b.Names() {
		if !measured(name, 0) {
			unused = append(unused, name)
			continue
		}
		for _, n := range slices.Sorted(maps.Keys(b.Scenarios[name].Connections)) {
			if !measured(name, n) {
				unused = append(unused, (&ScenarioReport{Name: name, Connections: n}).Title())
			}
		}
	}
	return unused
}

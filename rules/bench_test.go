package rules

import (
	"fmt"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures"
)

func benchmark(b *testing.B, text string, in *Input) {
	e := engineWith(b, 1, text)
	b.ReportAllocs()
	for b.Loop() {
		e.Plan(in)
	}
}

// ruleList is n rules, each with its number in place of the condition's verbs.
func ruleList(n int, condition, effect string) string {
	text := "rules:\n"
	for i := range n {
		text += fmt.Sprintf("  - {name: r%d, when: '%s', %s}\n", i, strings.ReplaceAll(condition, "%02d", fmt.Sprintf("%02d", i)), effect)
	}
	return text
}

// conditions is what the facts on speed were measured with, as rules.
func conditions(n int) string {
	return ruleList(n, `request.method == "POST" && request.path startsWith "/pay%02d" && request.header("X-A") == "b" && rand() < 0.05`, "delay: 1ms")
}

func payment() *Input {
	in := get("/pay42/now")
	in.Request.Method = "POST"
	in.Request.Header = fixtures.Header{{Name: "Accept", Value: "*/*"}, {Name: "X-A", Value: "b"}}
	return in
}

func BenchmarkPlan(b *testing.B) {
	b.Run("no rules", func(b *testing.B) { benchmark(b, "rules: []", get("/")) })
	b.Run("one rule decided by the index", func(b *testing.B) {
		benchmark(b, "rules: [{name: a, when: 'request.path startsWith \"/pay\"', delay: 1ms}]", payment())
	})
	b.Run("one rule evaluated", func(b *testing.B) {
		benchmark(b, "rules: [{name: a, when: 'request.header(\"X-A\") == \"b\" && rand() < 0.05', delay: 1ms}]", payment())
	})
	b.Run("100 rules one matches", func(b *testing.B) { benchmark(b, conditions(100), payment()) })
	b.Run("100 rules none matches", func(b *testing.B) { benchmark(b, conditions(100), get("/")) })
	b.Run("100 rules all evaluated", func(b *testing.B) {
		benchmark(b, ruleList(100, "load.inflight > 1%02d", "delay: 1ms"), payment())
	})
	b.Run("100 rules all evaluated by the VM", func(b *testing.B) {
		benchmark(b, ruleList(100, "load.inflight + 1 > 1%02d", "delay: 1ms"), payment())
	})
	b.Run("a lognormal delay", func(b *testing.B) {
		benchmark(b, "rules: [{name: a, delay: 'lognormal(\"80ms\", \"900ms\")'}]", payment())
	})
}

func BenchmarkParse(b *testing.B) {
	data := []byte(conditions(100))
	for b.Loop() {
		if _, err := Parse([]Source{{Name: "r.yaml", Data: data}}, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

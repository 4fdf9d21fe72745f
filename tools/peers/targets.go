package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// target is what a run should show.
type target struct {
	says    string
	group   string
	subject string
	ref     string // empty where the figure stands for itself
	conns   []int
	unit    string
	combine func(a, b sample) float64
	limit   float64
	atLeast bool // the limit is a floor
}

func delayError(f figure, asked time.Duration) func(a, b sample) float64 {
	return func(a, _ sample) float64 { return f(a) - float64(asked.Microseconds()) }
}

func targets() []target {
	busy, large := []int{16, 64}, []int{1, 16, 64}
	cpu, rps := ratio(cpuOf), ratio(rpsOf)
	all := []target{
		{"pass-through, 1 KiB: CPU", "http-1k", nameUs, nameHAProxy, busy, "×", cpu, 1.1, false},
		{"pass-through, 1 KiB: requests/s", "http-1k", nameUs, nameHAProxy, busy, "×", rps, 0.9, true},
		{"recording, 1 KiB: CPU", "http-1k", nameUsRecord, nameHAProxy, busy, "×", cpu, 1.5, false},
		{"100 rules, one matches: CPU", "http-1k", nameUsRules, nameHAProxy, busy, "×", cpu, 1.2, false},
		{"one connection: added p50 beyond HAProxy's", "http-1k", nameUs, nameHAProxy, []int{1}, "µs", difference(p50Of), 20, false},
		{"intercepted TLS: CPU", "tls-1k", nameUsTLS, nameHATLS, busy, "×", cpu, 1.0, false},
		{"1 MiB, nobody looks: CPU", "http-1m", nameUs, nameHAProxy, large, "×", cpu, 0.75, false},
		{"1 MiB, recording: CPU", "http-1m", nameUsRecord, nameHAProxy, large, "×", cpu, 1.2, false},
		{"TCP, 1 KiB: CPU", "tcp-1k", nameUsTCP, nameToxi, busy, "×", cpu, 0.9, false},
		{"TCP, 1 MiB: CPU", "tcp-1m", nameUsTCP, nameToxi, large, "×", cpu, 0.4, false},
		{"replay, one stub: requests/s", "stub-1", nameUsReplay, nameReturn, busy, "×", rps, 0.9, true},
		{"replay, many stubs: requests/s", "stub-many", nameUsReplay, nameReturn, busy, "×", rps, 0.9, true},
	}
	asked := func(says, group, subject string, conns []int, delay time.Duration, by string, p50, p99 figure) {
		judge := func(q string, f figure, limit float64) {
			all = append(all, target{says + ": " + q + " error, by " + by, group, subject, "", conns, "µs", delayError(f, delay), limit, false})
		}
		judge("p50", p50, 100)
		if group == "delay" { // nothing is asked of a tail of 10,000
			judge("p99", p99, 1000)
		}
	}
	// Judged by both clients, of which wrk has costs of its own: docs/performance.md.
	for _, by := range []struct {
		name     string
		p50, p99 figure
	}{{"wrk", p50Of, p99Of}, {"the second client", read50Of, read99Of}} {
		asked("10 ms from a stub", "delay", nameUsStub, []int{1, 64}, askDelay, by.name, by.p50, by.p99)
		asked("10 ms from a rule", "delay", nameUsDelay, []int{1, 64}, askDelay, by.name, by.p50, by.p99)
		asked("5 s from a stub", "delay-many", nameUsStub, []int{manyConns}, longDelay, by.name, by.p50, by.p99)
		asked("5 s from a rule", "delay-many", nameUsDelay, []int{manyConns}, longDelay, by.name, by.p50, by.p99)
	}
	return all
}

// verdicts is the table of targets that were measured.
func verdicts(tables []*table) string {
	var out strings.Builder
	for _, want := range targets() {
		for _, t := range tables {
			if t.group.name != want.group {
				continue
			}
			for _, n := range want.conns {
				us, ref := t.find(want.subject, n), t.find(want.ref, n)
				if want.ref == "" {
					ref = us
				}
				got := us.against(ref, want.combine)
				if math.IsNaN(got.median) {
					continue
				}
				verdict, bound := "missed", "at most"
				if want.atLeast {
					bound = "at least"
				}
				if want.atLeast && got.median >= want.limit || !want.atLeast && got.median <= want.limit {
					verdict = "met"
				}
				decimals := 2
				if want.unit == "µs" {
					decimals = 0
				}
				beside := want.ref
				if beside == "" {
					beside = "–"
				}
				fmt.Fprintf(&out, "| %s | %d | %s | %s %.*f %s | %s | %s |\n", want.says, n, beside, bound, decimals, want.limit, want.unit, got.wide(decimals), verdict)
			}
		}
	}
	if out.Len() == 0 {
		return ""
	}
	return "### What is asked of understudy\n\n| | connections | beside | wanted | found (min–max) | |\n|-|--:|-|-|--:|-|\n" + out.String()
}

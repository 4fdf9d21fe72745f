package timing

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Parse reads a distribution as people write it: "50ms" for a fixed delay, or a
// name with its arguments, quoted or not:
//
//	fixed("50ms")  uniform("10ms", "50ms")  normal("80ms", "20ms")
//	lognormal("80ms", "900ms")   median, p99
//	pareto("10ms", 1.5)          minimum, alpha
//
// Errors say what was wanted and what was there; the caller adds the place.
func Parse(text string) (Distribution, error) {
	text = strings.TrimSpace(text)
	name, rest, called := strings.Cut(text, "(")
	if !called {
		d, err := parseDuration(text)
		if err != nil {
			return nil, err
		}
		return Fixed(d)
	}
	name = strings.TrimSpace(name)
	inner, closed := strings.CutSuffix(rest, ")")
	if !closed {
		return nil, fmt.Errorf("%s: want a closing parenthesis at the end of %q", name, text)
	}
	var args []string
	if strings.TrimSpace(inner) != "" {
		args = strings.Split(inner, ",")
	}
	for i := range args {
		args[i] = unquote(strings.TrimSpace(args[i]))
	}
	switch name {
	case "fixed":
		return withDurations(name, args, 1, func(d []time.Duration) (Distribution, error) { return Fixed(d[0]) })
	case "uniform":
		return withDurations(name, args, 2, func(d []time.Duration) (Distribution, error) { return Uniform(d[0], d[1]) })
	case "normal":
		return withDurations(name, args, 2, func(d []time.Duration) (Distribution, error) { return Normal(d[0], d[1]) })
	case "lognormal":
		return withDurations(name, args, 2, func(d []time.Duration) (Distribution, error) { return LogNormal(d[0], d[1]) })
	case "pareto":
		if len(args) != 2 {
			return nil, fmt.Errorf("pareto: want 2 arguments, got %d", len(args))
		}
		least, err := parseDuration(args[0])
		if err != nil {
			return nil, fmt.Errorf("pareto: %w", err)
		}
		alpha, err := strconv.ParseFloat(args[1], 64)
		if err != nil {
			return nil, fmt.Errorf("pareto: want a number for alpha, got %q", args[1])
		}
		return Pareto(least, alpha)
	}
	return nil, fmt.Errorf("want one of fixed, uniform, normal, lognormal, pareto, got %q", name)
}

func withDurations(name string, args []string, n int, build func([]time.Duration) (Distribution, error)) (Distribution, error) {
	if len(args) != n {
		return nil, fmt.Errorf("%s: want %d arguments, got %d", name, n, len(args))
	}
	ds := make([]time.Duration, n)
	for i, a := range args {
		d, err := parseDuration(a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		ds[i] = d
	}
	return build(ds)
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Errorf(`want a duration such as "50ms", got %q: a number needs a unit: us, ms, s`, text)
	}
	if unit := UnknownUnit(text); unit != "" {
		return 0, fmt.Errorf(`want a duration such as "50ms", got %q: unknown unit %q: units are us, ms, s, m, h`, text, unit)
	}
	return 0, fmt.Errorf(`want a duration such as "50ms", got %q`, text)
}

// UnknownUnit returns the first unit in a duration such as "50msec" that is none,
// here "msec"; "" where all are known, and where text is not numbers with units.
func UnknownUnit(text string) string {
	text = strings.TrimLeft(text, "+-")
	for text != "" {
		unit := strings.TrimLeft(text, "0123456789.")
		if len(unit) == len(text) {
			return ""
		}
		if text = ""; strings.ContainsAny(unit, "0123456789.") {
			i := strings.IndexAny(unit, "0123456789.")
			unit, text = unit[:i], unit[i:]
		}
		switch unit {
		case "":
			return ""
		case "ns", "us", "µs", "μs", "ms", "s", "m", "h":
		default:
			return unit
		}
	}
	return ""
}

// unquote takes off one pair of double or single quotes.
func unquote(s string) string {
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}

package shaping

import (
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// ParseDistribution reads a distribution from a file's text, in one of these forms;
// lines that begin with # are skipped:
//
//   - a table as tc has it: whole numbers, σ × 8192;
//   - what was measured: durations such as 12.3ms, or ping's output;
//   - a recording's exchanges: what its connections upstream took to dial, a round trip each;
//   - quantiles, one a line: 50% 20ms, ascending.
//
// Errors are *place.Error.
func ParseDistribution(name string, data []byte) (*Distribution, error) {
	f := place.NewFile(name, data)
	var table []int16
	var samples []time.Duration
	var quantiles []Quantile
	first, recorded := 0, false
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if first == 0 {
			first = i + 1
		}
		fail := func(format string, args ...any) error {
			return f.At(i+1, 1, "whole numbers (a table), durations such as 12.3ms, lines such as 50% 20ms, or a cassette's exchanges.ndjson", format, args...)
		}
		if line[0] == '{' {
			dialled, err := dialling(line)
			if err != nil {
				return nil, fail("want a recorded exchange: %v", err)
			}
			if recorded = true; dialled > 0 {
				samples = append(samples, dialled)
			}
			continue
		}
		if m := pingTime().FindStringSubmatch(line); m != nil {
			line = m[1] + m[2]
		} else if pingTalk().MatchString(line) {
			continue
		}
		fields := strings.Fields(line)
		if q, ok := strings.CutSuffix(fields[0], "%"); ok {
			p, err := shift(q, -2)
			if err != nil || p > 1 || len(fields) != 2 {
				return nil, fail("want a quantile such as 50%% 20ms, got %q", line)
			}
			at, err := time.ParseDuration(fields[1])
			if err != nil {
				return nil, fail("want a duration, got %q", fields[1])
			}
			quantiles = append(quantiles, Quantile{p, at})
			continue
		}
		for _, word := range fields {
			if n, err := strconv.ParseInt(word, 10, 64); err == nil {
				if n < math.MinInt16 || n > math.MaxInt16 || len(table) == MaxTable {
					return nil, fail("want at most %d values of 16 bits, got %s", MaxTable, word)
				}
				table = append(table, int16(n))
				continue
			}
			d, err := time.ParseDuration(word)
			if err != nil || d < 0 {
				return nil, fail("want a number or a duration, got %q", word)
			}
			samples = append(samples, d)
		}
	}
	if recorded && len(samples) < 2 {
		return nil, f.At(first, 1, "a connection that is kept is dialled once: record with more clients, or for longer than an upstream keeps one",
			"want two dialled connections or more in the recording, found %d", len(samples))
	}
	d, err := oneOf(table, samples, quantiles)
	if err != nil {
		return nil, f.At(max(first, 1), 1, "", "%s", err)
	}
	return d, nil
}

var (
	pingTime = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\btime[=<]([0-9.]+) ?(us|ms|s)\b`) })
	pingTalk = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(PING |--- |\d+ packets transmitted|rtt |round-trip )|no answer yet|^Request timeout`)
	})
)

// dialling is how long the upstream's connection of an exchange took to dial; 0 on one that
// was there. Source: docs/cassette-format.md.
func dialling(line string) (time.Duration, error) {
	var x struct {
		Times struct {
			Connect int64 `json:"upstream_connect_ns"`
		} `json:"times"`
	}
	err := json.Unmarshal([]byte(line), &x)
	return time.Duration(max(x.Times.Connect, 0)), err
}

// oneOf makes a distribution of the one form that was found.
func oneOf(table []int16, samples []time.Duration, quantiles []Quantile) (*Distribution, error) {
	switch {
	case len(table) > 0 && len(samples)+len(quantiles) == 0:
		return &Distribution{Table: table}, nil
	case len(samples) > 0 && len(table)+len(quantiles) == 0:
		return FromSamples(samples)
	case len(quantiles) > 0 && len(table)+len(samples) == 0:
		return FromQuantiles(quantiles)
	case len(table)+len(samples)+len(quantiles) == 0:
		return nil, &problem{msg: "there is nothing in it"}
	}
	return nil, &problem{msg: "want one form, got a mix of table, durations and quantiles"}
}

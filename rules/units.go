package rules

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

const durationHint = "a number needs a unit: us, ms, s, m, h"

// parseDuration reads a length of time of 0 or more, as Go writes it.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("want a duration such as \"50ms\", got %q%s", shorten(text), unknownUnit(text))
	}
	return d, nil
}

// unknownUnit is `: unknown unit "msec"` where a duration has one, else "".
func unknownUnit(text string) string {
	if unit := timing.UnknownUnit(text); unit != "" {
		return fmt.Sprintf(": unknown unit %q", shorten(unit))
	}
	return ""
}

// Byte units as people write them. Decimal ones count by 1000, those with an i
// by 1024, as IEC 80000-13 has it.
var byteUnits = map[string]float64{
	"": 1, "b": 1,
	"kb": 1e3, "mb": 1e6, "gb": 1e9,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
}

// Bit rates as tc(8) writes them, in bits per second.
var bitUnits = map[string]float64{"bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}

// parseSize reads a number of bytes above 0, such as 512, 10KB or 1MiB.
func parseSize(text string) (int64, error) {
	number, unit := splitUnit(text)
	factor, known := byteUnits[strings.ToLower(unit)]
	n := number * factor
	if !known || !(n >= 1) || n > math.MaxInt64/2 {
		return 0, fmt.Errorf("want a number of bytes such as 10KB or 1MiB, got %q", text)
	}
	return int64(n), nil
}

// parseRate reads a rate above 0 and returns bytes per second.
func parseRate(text string) (float64, error) {
	number, unit := splitUnit(text)
	unit = strings.ToLower(unit)
	rate := number * bitUnits[unit] / 8
	if perSecond, ok := strings.CutSuffix(unit, "/s"); ok && perSecond != "" {
		rate = number * byteUnits[perSecond]
	}
	if !(rate > 0) || math.IsInf(rate, 0) {
		return 0, fmt.Errorf("want a rate such as 64kbit, 1mbit or 10KB/s, got %q", text)
	}
	return rate, nil
}

// parseShare reads a share in [0, 1], written as 0.05 or as 5%.
func parseShare(text string) (float64, error) {
	number, unit := splitUnit(text)
	share := math.NaN()
	switch unit {
	case "":
		share = number
	case "%":
		share = number / 100
	}
	if !(share >= 0 && share <= 1) {
		return 0, fmt.Errorf("want a share from 0 to 1 such as 0.05 or 5%%, got %q", text)
	}
	return share, nil
}

// splitUnit cuts "10 KB" into 10 and "KB"; the number is NaN where there is none.
func splitUnit(text string) (float64, string) {
	text = strings.TrimSpace(text)
	end := 0
	for end < len(text) && (text[end] == '.' || text[end] >= '0' && text[end] <= '9') {
		end++
	}
	n, err := strconv.ParseFloat(text[:end], 64)
	if err != nil {
		n = math.NaN()
	}
	return n, strings.TrimSpace(text[end:])
}

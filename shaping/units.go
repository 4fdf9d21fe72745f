package shaping

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// problem is a finding without its place.
type problem struct{ msg, hint string }

func (p *problem) Error() string { return p.msg }

func parseDuration(text string, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, &problem{fmt.Sprintf(`want a duration such as "40ms", got %q`, text), "a number needs a unit: us, ms, s"}
	case d < 0:
		return 0, &problem{fmt.Sprintf("want a duration of 0 or more, got %q", text), ""}
	case d > most:
		hint := "the kernel cannot hold more"
		if most > MaxJitter {
			hint = ""
		}
		return 0, &problem{fmt.Sprintf("want at most %v, got %q", most, text), hint}
	}
	return d, nil
}

func formatDuration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func parsePercent(text string) (float64, error) {
	digits, isPercent := strings.CutSuffix(text, "%")
	p, err := shift(digits, -2)
	switch {
	case !isPercent:
		return 0, &problem{fmt.Sprintf(`want a percentage such as "0.5%%", got %q`, text), "write the percent sign: 0.5 could mean half of all packets"}
	case err != nil:
		return 0, &problem{fmt.Sprintf(`want a percentage such as "0.5%%", got %q`, text), ""}
	case p > 1:
		return 0, &problem{fmt.Sprintf("want at most 100%%, got %q", text), ""}
	}
	return p, nil
}

func formatPercent(p float64) string {
	if p == 0 {
		return ""
	}
	return unshift(p) + "%"
}

// parseList reads up to len(into) percentages with slashes between them, as many
// as least or more, and returns how many there were.
func parseList(text string, least int, into ...*float64) (int, error) {
	parts := strings.Split(text, "/")
	if len(parts) < least || len(parts) > len(into) {
		return 0, &problem{fmt.Sprintf("want %d to %d percentages with slashes between them, got %q", least, len(into), text), "such as 1%/10%"}
	}
	for i, part := range parts {
		p, err := parsePercent(strings.TrimSpace(part))
		if err != nil {
			return 0, err
		}
		*into[i] = p
	}
	return len(parts), nil
}

// formatList is the inverse of parseList.
func formatList(ps ...float64) string {
	parts := make([]string, len(ps))
	for i, p := range ps {
		parts[i] = unshift(p) + "%"
	}
	return strings.Join(parts, "/")
}

func parseCount(text string, least, most int64, example string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, &problem{fmt.Sprintf("want a number from %d to %d, got %q", least, most, text), "such as " + example}
	}
	return n, nil
}

func formatCount[N int32 | uint32 | uint64](n N) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// shift reads a plain decimal times ten to the power exp. Leaving that to the
// decimal text makes 0.5% the float64 nearest to 0.005, not a product's rounding.
func shift(text string, exp int) (float64, error) {
	if text == "" || strings.Trim(text, "0123456789.") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(text+"e"+strconv.Itoa(exp), 64)
}

// unshift is p times a hundred as the shortest plain decimal that shift reads back.
func unshift(p float64) string {
	if p == 0 {
		return "0"
	}
	mantissa, exp, _ := strings.Cut(strconv.FormatFloat(p, 'e', -1, 64), "e")
	e, _ := strconv.Atoi(exp) // FormatFloat's own
	digits := strings.ReplaceAll(mantissa, ".", "")
	point := 1 + e + 2 // where the decimal point goes, counted in digits
	switch {
	case point <= 0:
		return "0." + strings.Repeat("0", -point) + digits
	case point >= len(digits):
		return digits + strings.Repeat("0", point-len(digits))
	}
	return digits[:point] + "." + digits[point:]
}

// Powers of ten as tc(8) has them: kbit is 1000 bit.
var rateUnits = []struct {
	name string
	exp  int
}{{"gbit", 9}, {"mbit", 6}, {"kbit", 3}, {"bit", 0}}

// maxRate keeps rates whole in a float64, and far above any link.
const maxRate = 1 << 50

func parseRate(text string) (uint64, error) {
	lower := strings.ToLower(text)
	for _, u := range rateUnits {
		digits, ok := strings.CutSuffix(lower, u.name)
		if !ok {
			continue
		}
		v, err := shift(digits, u.exp)
		switch {
		case err != nil:
			return 0, &problem{fmt.Sprintf(`want a rate such as "12mbit", got %q`, text), ""}
		case v < 8 || v > maxRate:
			return 0, &problem{fmt.Sprintf("want a rate from 8bit to %s, got %q", formatRate(maxRate), text), ""}
		case v != float64(uint64(v)) || uint64(v)%8 != 0:
			return 0, &problem{fmt.Sprintf("want a rate of whole bytes per second, got %q", text), "the kernel counts bytes: a multiple of 8bit"}
		}
		return uint64(v), nil
	}
	hint := "units: bit, kbit, mbit, gbit (bits per second)"
	if strings.HasSuffix(lower, "bps") {
		hint = "bps is bits to some tools and bytes to tc; " + hint
	}
	return 0, &problem{fmt.Sprintf(`want a rate such as "12mbit", got %q`, text), hint}
}

func formatRate(bits uint64) string {
	if bits == 0 {
		return ""
	}
	div := uint64(1_000_000_000)
	for _, u := range rateUnits {
		if bits%div == 0 {
			return strconv.FormatUint(bits/div, 10) + u.name
		}
		div /= 1000
	}
	return "" // not reached: every number is a multiple of 1
}

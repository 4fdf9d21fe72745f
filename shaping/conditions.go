package shaping

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Conditions are what a link does to packets in one direction. The zero value
// is a link that does nothing to them.
type Conditions struct {
	Delay     time.Duration // added to each packet; at most MaxDelay
	Jitter    time.Duration // the delay varies by ± this; at most Delay
	Loss      float64       // probability in [0, 1]
	Duplicate float64       // probability in [0, 1]
	Corrupt   float64       // probability in [0, 1] of one flipped bit
	Reorder   float64       // probability in [0, 1] of a packet that skips the delay
	// Rate is in bits per second, 0 for unlimited; a multiple of 8, as the
	// kernel counts bytes.
	Rate uint64
	// Limit is how many packets the queue holds before it drops; 0 for no wish.
	Limit uint32
}

// MaxDelay is the longest delay: netem's field wraps beyond 2³² ticks of 64 ns,
// which is 274.8 s.
const MaxDelay = 274 * time.Second

// MaxJitter is where netem caps a jitter: 2³¹ ns.
const MaxJitter = 2147 * time.Millisecond

// IsZero reports whether c does nothing.
func (c Conditions) IsZero() bool { return c == Conditions{} }

// String is c as ParseSpec reads it, without what is zero; "" for the zero value.
func (c Conditions) String() string {
	var parts []string
	for _, k := range keys {
		if text := k.format(&c); text != "" {
			parts = append(parts, k.name+"="+text)
		}
	}
	return strings.Join(parts, ",")
}

// key is one condition as people write it.
type key struct {
	name   string
	parse  func(c *Conditions, text string) error
	format func(c *Conditions) string // "" for nothing to say
}

var keys = []key{
	durationKey("delay", MaxDelay, func(c *Conditions) *time.Duration { return &c.Delay }),
	durationKey("jitter", MaxJitter, func(c *Conditions) *time.Duration { return &c.Jitter }),
	percentKey("loss", func(c *Conditions) *float64 { return &c.Loss }),
	percentKey("duplicate", func(c *Conditions) *float64 { return &c.Duplicate }),
	percentKey("corrupt", func(c *Conditions) *float64 { return &c.Corrupt }),
	percentKey("reorder", func(c *Conditions) *float64 { return &c.Reorder }),
	{"rate", func(c *Conditions, text string) (err error) { c.Rate, err = parseRate(text); return err },
		func(c *Conditions) string { return formatRate(c.Rate) }},
	{"limit", func(c *Conditions, text string) error {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil || n == 0 {
			return &problem{fmt.Sprintf("want a number of packets above 0, got %q", text), "such as limit=1000"}
		}
		c.Limit = uint32(n)
		return nil
	}, func(c *Conditions) string {
		if c.Limit == 0 {
			return ""
		}
		return strconv.FormatUint(uint64(c.Limit), 10)
	}},
}

// problem is a finding without its place.
type problem struct{ msg, hint string }

func (p *problem) Error() string { return p.msg }

func durationKey(name string, most time.Duration, field func(*Conditions) *time.Duration) key {
	return key{name, func(c *Conditions, text string) error {
		d, err := time.ParseDuration(text)
		switch {
		case err != nil:
			return &problem{fmt.Sprintf(`want a duration such as "40ms", got %q`, text), "a number needs a unit: us, ms, s"}
		case d < 0:
			return &problem{fmt.Sprintf("want a duration of 0 or more, got %q", text), ""}
		case d > most:
			return &problem{fmt.Sprintf("want at most %v, got %q", most, text), "the kernel cannot hold more"}
		}
		*field(c) = d
		return nil
	}, func(c *Conditions) string {
		if d := *field(c); d != 0 {
			return d.String()
		}
		return ""
	}}
}

func percentKey(name string, field func(*Conditions) *float64) key {
	return key{name, func(c *Conditions, text string) error {
		digits, isPercent := strings.CutSuffix(text, "%")
		p, err := shift(digits, -2)
		switch {
		case !isPercent:
			return &problem{fmt.Sprintf(`want a percentage such as "0.5%%", got %q`, text), "write the percent sign: 0.5 could mean half of all packets"}
		case err != nil:
			return &problem{fmt.Sprintf(`want a percentage such as "0.5%%", got %q`, text), ""}
		case p > 1:
			return &problem{fmt.Sprintf("want at most 100%%, got %q", text), ""}
		}
		*field(c) = p
		return nil
	}, func(c *Conditions) string {
		if p := *field(c); p != 0 {
			return unshift(p) + "%"
		}
		return ""
	}}
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

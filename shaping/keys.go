package shaping

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// key is one condition as people write it. What is read back from a kernel is
// compared by what format says of it.
type key struct {
	name   string
	parse  func(c *Conditions, text string) error
	format func(c *Conditions) string // "" for nothing to say
	copy   func(to, from *Conditions)
}

// keys are in the order in which String writes them.
var keys = []key{
	durationKey("delay", MaxDelay, func(c *Conditions) *time.Duration { return &c.Delay }),
	durationKey("jitter", MaxJitter, func(c *Conditions) *time.Duration { return &c.Jitter }),
	percentKey("delay_correlation", func(c *Conditions) *float64 { return &c.DelayCorrelation }),
	distributionKey("distribution", func(c *Conditions) **Distribution { return &c.Distribution }),
	percentKey("loss", func(c *Conditions) *float64 { return &c.Loss }),
	{"burst", parseBurst, func(c *Conditions) string {
		if c.Burst == 0 {
			return ""
		}
		return formatBurst(c.Burst)
	}, func(to, from *Conditions) { to.Burst = from.Burst }},
	percentKey("loss_correlation", func(c *Conditions) *float64 { return &c.LossCorrelation }),
	// tc's order and defaults: p [r [1-h [1-k]]].
	{"gemodel", func(c *Conditions, text string) error {
		g := GilbertElliott{LossInBad: 1}
		n, err := parseList(text, 1, &g.ToBad, &g.ToGood, &g.LossInBad, &g.LossInGood)
		if n == 1 {
			g.ToGood = 1 - g.ToBad
		}
		c.GilbertElliott = g
		return err
	}, func(c *Conditions) string {
		g := c.GilbertElliott
		if g == (GilbertElliott{}) {
			return ""
		}
		return formatList(g.ToBad, g.ToGood, g.LossInBad, g.LossInGood)
	}, func(to, from *Conditions) { to.GilbertElliott = from.GilbertElliott }},
	// tc's order and defaults: p13 [p31 [p32 [p23 [p14]]]].
	{"state", func(c *Conditions, text string) error {
		s := FourState{P23: 1}
		n, err := parseList(text, 1, &s.P13, &s.P31, &s.P32, &s.P23, &s.P14)
		if n == 1 {
			s.P31 = 1 - s.P13
		}
		c.FourState = s
		return err
	}, func(c *Conditions) string {
		s := c.FourState
		if s == (FourState{}) {
			return ""
		}
		return formatList(s.P13, s.P31, s.P32, s.P23, s.P14)
	}, func(to, from *Conditions) { to.FourState = from.FourState }},
	percentKey("duplicate", func(c *Conditions) *float64 { return &c.Duplicate }),
	percentKey("duplicate_correlation", func(c *Conditions) *float64 { return &c.DuplicateCorrelation }),
	percentKey("corrupt", func(c *Conditions) *float64 { return &c.Corrupt }),
	percentKey("corrupt_correlation", func(c *Conditions) *float64 { return &c.CorruptCorrelation }),
	percentKey("reorder", func(c *Conditions) *float64 { return &c.Reorder }),
	percentKey("reorder_correlation", func(c *Conditions) *float64 { return &c.ReorderCorrelation }),
	unsignedKey("gap", "gap=5", func(c *Conditions) *uint32 { return &c.Gap }),
	{"rate", func(c *Conditions, text string) (err error) { c.Rate, err = parseRate(text); return err },
		func(c *Conditions) string { return formatRate(c.Rate) },
		func(to, from *Conditions) { to.Rate = from.Rate }},
	signedKey("overhead", math.MinInt16, math.MaxInt16, "overhead=26", func(c *Conditions) *int32 { return &c.PacketOverhead }),
	unsignedKey("cell", "cell=48", func(c *Conditions) *uint32 { return &c.CellSize }),
	signedKey("cell_overhead", math.MinInt16, math.MaxInt16, "cell_overhead=5", func(c *Conditions) *int32 { return &c.CellOverhead }),
	{"trace", func(c *Conditions, text string) error {
		c.Trace = &Trace{Name: text} // a Book reads it
		return nil
	}, func(c *Conditions) string {
		if c.Trace == nil {
			return ""
		}
		return c.Trace.Name
	}, func(to, from *Conditions) { to.Trace = from.Trace }},
	{"delay_trace", func(c *Conditions, text string) error {
		c.DelayTrace = &DelayTrace{Name: text} // likewise
		return nil
	}, func(c *Conditions) string {
		if c.DelayTrace == nil {
			return ""
		}
		return c.DelayTrace.Name
	}, func(to, from *Conditions) { to.DelayTrace = from.DelayTrace }},
	{"slot", parseSlot, func(c *Conditions) string {
		s := c.Slot
		switch {
		case s.MinDelay == 0 && s.MaxDelay == 0:
			return ""
		case s.MinDelay == s.MaxDelay:
			return s.MinDelay.String()
		}
		return s.MinDelay.String() + "/" + s.MaxDelay.String()
	}, func(to, from *Conditions) {
		to.Slot.MinDelay, to.Slot.MaxDelay = from.Slot.MinDelay, from.Slot.MaxDelay
	}},
	durationKey("slot_delay", MaxDelay, func(c *Conditions) *time.Duration { return &c.Slot.DistDelay }),
	durationKey("slot_jitter", MaxJitter, func(c *Conditions) *time.Duration { return &c.Slot.DistJitter }),
	distributionKey("slot_distribution", func(c *Conditions) **Distribution { return &c.Slot.Distribution }),
	signedKey("slot_packets", 1, math.MaxInt32-1, "slot_packets=10", func(c *Conditions) *int32 { return &c.Slot.Packets }),
	signedKey("slot_bytes", 1, math.MaxInt32-1, "slot_bytes=15000", func(c *Conditions) *int32 { return &c.Slot.Bytes }),
	{"ecn", func(c *Conditions, text string) (err error) {
		if c.ECN, err = strconv.ParseBool(text); err != nil {
			return &problem{"want true or false, got " + strconv.Quote(text), ""}
		}
		return nil
	}, func(c *Conditions) string {
		if !c.ECN {
			return ""
		}
		return "true"
	}, func(to, from *Conditions) { to.ECN = from.ECN }},
	durationKey("queue", MaxDelay, func(c *Conditions) *time.Duration { return &c.Queue }),
	unsignedKey("limit", "limit=1000", func(c *Conditions) *uint32 { return &c.Limit }),
	{"seed", func(c *Conditions, text string) (err error) {
		if c.Seed, err = strconv.ParseUint(text, 10, 64); err != nil || c.Seed == 0 {
			return &problem{"want a number above 0, got " + strconv.Quote(text), "such as seed=42"}
		}
		return nil
	}, func(c *Conditions) string { return formatCount(c.Seed) },
		func(to, from *Conditions) { to.Seed = from.Seed }},
}

func copied[T any](field func(*Conditions) *T) func(to, from *Conditions) {
	return func(to, from *Conditions) { *field(to) = *field(from) }
}

func durationKey(name string, most time.Duration, field func(*Conditions) *time.Duration) key {
	return key{name,
		func(c *Conditions, text string) (err error) { *field(c), err = parseDuration(text, most); return err },
		func(c *Conditions) string { return formatDuration(*field(c)) },
		copied(field)}
}

func percentKey(name string, field func(*Conditions) *float64) key {
	return key{name,
		func(c *Conditions, text string) (err error) { *field(c), err = parsePercent(text); return err },
		func(c *Conditions) string { return formatPercent(*field(c)) },
		copied(field)}
}

func unsignedKey(name, example string, field func(*Conditions) *uint32) key {
	return key{name, func(c *Conditions, text string) error {
		n, err := parseCount(text, 1, math.MaxUint32, example)
		*field(c) = uint32(n)
		return err
	}, func(c *Conditions) string { return formatCount(*field(c)) }, copied(field)}
}

func signedKey(name string, least, most int64, example string, field func(*Conditions) *int32) key {
	return key{name, func(c *Conditions, text string) error {
		n, err := parseCount(text, least, most, example)
		*field(c) = int32(n)
		return err
	}, func(c *Conditions) string { return formatCount(*field(c)) }, copied(field)}
}

func distributionKey(name string, field func(*Conditions) **Distribution) key {
	return key{name, func(c *Conditions, text string) (err error) {
		*field(c), err = namedDistribution(text)
		return err
	}, func(c *Conditions) string {
		if d := *field(c); d != nil {
			return d.String()
		}
		return ""
	}, copied(field)}
}

func parseBurst(c *Conditions, text string) error {
	n, err := shift(text, 0)
	if err != nil || n < 1 || n > 1e6 {
		return &problem{"want a number of packets from 1, got " + strconv.Quote(text), "the mean length of a run of losses, such as loss=1%,burst=5"}
	}
	c.Burst = n
	return nil
}

func formatBurst(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

func parseSlot(c *Conditions, text string) (err error) {
	least, most, two := strings.Cut(text, "/")
	if c.Slot.MinDelay, err = parseDuration(strings.TrimSpace(least), MaxDelay); err != nil {
		return err
	}
	c.Slot.MaxDelay = c.Slot.MinDelay
	if two {
		c.Slot.MaxDelay, err = parseDuration(strings.TrimSpace(most), MaxDelay)
	}
	if err == nil && c.Slot.MaxDelay < c.Slot.MinDelay {
		return &problem{"want the shorter pause first, got " + strconv.Quote(text), "such as slot=5ms/20ms"}
	}
	return err
}

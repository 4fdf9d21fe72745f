package shaping

import (
	"fmt"
	"math"
	"time"
)

// Level is how much a finding matters.
type Level string

const (
	Note    Level = "note"    // a choice that was made
	Warning Level = "warning" // it will not do what it seems to say
)

// Finding is something to know about a link's conditions.
type Finding struct {
	Class     string    `json:"class,omitempty"`     // of the link's; "" for the link itself
	Direction Direction `json:"direction,omitempty"` // "" for both or neither
	Name      string    `json:"name,omitempty"`      // the condition
	Level     Level     `json:"level"`
	Text      string    `json:"text"`
	// Better is the setting to write instead; "" where there is none.
	Better string `json:"better,omitempty"`
}

// String is the finding on one line.
func (f Finding) String() string {
	s := f.Text
	if f.Name != "" {
		s = f.Name + ": " + s
	}
	if f.Direction != "" {
		s = string(f.Direction) + ": " + s
	}
	if f.Class != "" {
		s = "class " + f.Class + ": " + s
	}
	if f.Better != "" {
		s += " (better: " + f.Better + ")"
	}
	return s
}

// Place is what is known of where conditions apply. The zero value knows nothing.
type Place struct {
	Interface string
	Kind      string // "loopback", "veth" and so on
	KeepGSO   bool
	// Ingress is set where packets are shaped as they arrive.
	Ingress          bool
	IngressDirection Direction
}

// Lint explains each condition that a kernel accepts and that does something else
// than it seems to say, with the better setting. Source: docs/links.md, "Traps".
func Lint(l Link) []Finding { return LintOn(l, Place{}) }

// LintPlain is Lint without what holds for netem alone: what is left does something else
// than it seems to say wherever a link is shaped.
func LintPlain(l Link) []Finding {
	if l.Down == l.Up {
		return lintPlain("", &l.Down)
	}
	return append(lintPlain(Down, &l.Down), lintPlain(Up, &l.Up)...)
}

// LintOn is Lint for conditions whose place is known.
func LintOn(l Link, p Place) []Finding {
	var out []Finding
	if l.Down == l.Up {
		out = lintConditions("", &l.Down)
	} else {
		out = append(lintConditions(Down, &l.Down), lintConditions(Up, &l.Up)...)
	}
	if p.Kind == "loopback" {
		twice := (l.Down.Delay + l.Up.Delay) * 2
		if l.Down == l.Up || l.Down.IsZero() || l.Up.IsZero() {
			twice = max(l.Down.Delay, l.Up.Delay) * 2
		}
		out = append(out, Finding{"", "", "delay", Warning, fmt.Sprintf("lo carries both directions: a round trip takes %v, and every local connection is hit", twice),
			"half the delay, or a namespace of its own: understudy shape set --pid PID"})
	}
	if p.KeepGSO {
		out = append(out, Finding{"", "", "gso", Warning, "packets are lost, queued and timed in super-packets of up to 64 KiB: 1% loss takes some 22 segments at a time", "leave segmentation to understudy (no --keep-gso)"})
	}
	if p.Ingress && p.Kind == "veth" {
		out = append(out, Finding{"", p.IngressDirection, "gso", Warning, "a veth's peer hands over super-packets of up to 64 KiB, and they are lost, queued and timed whole",
			"shape the peer's end, where this direction leaves, or there: ip link set dev PEER gso_max_segs 1"})
	}
	return out
}

// lintConditions looks at one direction.
func lintConditions(d Direction, c *Conditions) []Finding {
	var out []Finding
	add := func(name, text, better string) { out = append(out, Finding{"", d, name, Warning, text, better}) }
	if c.LossCorrelation > 0 {
		add("loss_correlation", "the kernel's correlated loss is broken: 5% with 25% correlation loses 0.16%", burstAdvice(c))
	}
	if c.Jitter > 0 && c.Rate == 0 {
		add("jitter", "each packet draws its own delay, so they overtake each other: TCP takes that for loss (20±5 ms: 30 Mbit/s of 466)",
			fmt.Sprintf("add a rate, such as rate=500mbit, which keeps the order and adds to the mean delay; or steps of the delay alone: delay=%v", c.Delay))
	}
	if c.Jitter > 0 && c.Rate > 0 {
		out = append(out, Finding{"", d, "jitter", Note, "a rate keeps packets in order, so that late ones hold up those behind: the mean delay grows (50±10 ms gave 56.8)", ""})
	}
	if c.Duplicate > 0 {
		out = append(out, Finding{"", d, "duplicate", Note, "a netem that duplicates forbids any other netem on the same interface", ""})
	}
	for _, one := range []struct {
		name            string
		chance, related float64
	}{{"duplicate", c.Duplicate, c.DuplicateCorrelation}, {"corrupt", c.Corrupt, c.CorruptCorrelation}, {"reorder", c.Reorder, c.ReorderCorrelation}} {
		if one.related > 0 && one.chance > 0 {
			add(one.name+"_correlation", "the kernel draws correlated numbers around their mean: chances far from 50% come out much smaller", "leave the correlation out")
		}
	}
	return append(out, lintPlain(d, c)...)
}

// lintPlain looks at one direction, whatever shapes it.
func lintPlain(d Direction, c *Conditions) []Finding {
	var out []Finding
	add := func(name, text, better string) { out = append(out, Finding{"", d, name, Warning, text, better}) }
	if c.ECN && !c.loses() {
		add("ecn", "it marks packets instead of losing them, and none are lost on purpose", "add a loss, such as loss=0.5%, or leave ecn out")
	}
	if c.Gap > 1 && c.Reorder == 0 {
		add("gap", "without reorder it does nothing", fmt.Sprintf("reorder=100%%,gap=%d lets every packet of that number skip the delay", c.Gap))
	}
	for _, one := range []struct {
		name            string
		chance, related float64
	}{{"duplicate", c.Duplicate, c.DuplicateCorrelation}, {"corrupt", c.Corrupt, c.CorruptCorrelation}, {"reorder", c.Reorder, c.ReorderCorrelation}} {
		if one.related > 0 && one.chance == 0 {
			add(one.name+"_correlation", "without "+one.name+" it does nothing", "leave it out")
		}
	}
	if c.DelayCorrelation > 0 && c.Jitter == 0 {
		add("delay_correlation", "without jitter it does nothing", "add a jitter, or leave it out")
	}
	return append(out, lintQueue(d, c)...)
}

// lintQueue holds a limit against rate × delay.
func lintQueue(d Direction, c *Conditions) []Finding {
	if c.Limit == 0 {
		return nil
	}
	own := *c
	own.Limit = 0
	chosen, how := own.Resolve()
	held := packets(max(c.Rate, 1), c.Delay)
	switch {
	case c.Rate > 0 && uint64(c.Limit) < held+leastQueue:
		return []Finding{{"", d, "limit", Warning, fmt.Sprintf("%d packets are fewer than %d that are on the way at this rate and delay: it throttles below the rate", c.Limit, held), how}}
	case c.Rate > 0 && queueTime(c, held) > time.Second:
		return []Finding{{"", d, "limit", Warning, fmt.Sprintf("%d packets at this rate make a queue of %v", c.Limit, queueTime(c, held).Round(time.Millisecond)), fmt.Sprintf("limit=%d, or queue=%v", chosen.Limit, defaultQueue)}}
	case c.Rate == 0 && c.Limit < chosen.Limit && c.Delay > 0:
		most := float64(c.Limit) * fullPacket * 8 / c.Delay.Seconds()
		return []Finding{{"", d, "limit", Warning, fmt.Sprintf("%d packets within %v let through %.0f Mbit/s at most", c.Limit, c.Delay, most/1e6), fmt.Sprintf("limit=%d", chosen.Limit)}}
	}
	return nil
}

// queueTime is how long the last packet of a full queue waits for its turn.
func queueTime(c *Conditions, held uint64) time.Duration {
	waiting := float64(c.Limit) - float64(held)
	return time.Duration(waiting * fullPacket * 8 / float64(c.Rate) * float64(time.Second))
}

func burstAdvice(c *Conditions) string {
	loss := c.Loss
	if loss == 0 {
		return "loss=1%,burst=5 loses in runs of 5"
	}
	return fmt.Sprintf("loss=%s,burst=%s loses in runs of that mean length", formatPercent(loss), formatBurst(math.Round(10/(1-min(c.LossCorrelation, 0.9)))/10))
}

// Severs says why a session over l, such as SSH, would as good as end; "" where it
// would go on, if slowly.
func (l Link) Severs() string {
	round := l.Down.Delay + l.Down.Jitter + l.Up.Delay + l.Up.Jitter
	if round >= 2*time.Second {
		return fmt.Sprintf("a round trip would take %v", round)
	}
	for _, d := range []Direction{Down, Up} {
		c, _ := l.Of(d).Resolve()
		lost := 1 - (1-max(c.Loss, c.GilbertElliott.Mean()))*(1-c.Corrupt)
		if c.FourState != (FourState{}) {
			lost = max(lost, c.FourState.P13, c.FourState.P14)
		}
		switch {
		case lost >= 0.2:
			return fmt.Sprintf("%s%% of the packets %s would be lost", unshift(math.Round(lost*1000)/1000), d)
		case c.Rate > 0 && c.Rate < 64_000:
			return fmt.Sprintf("%s %s is too little", formatRate(c.Rate), d)
		case c.Limit < leastQueue:
			return fmt.Sprintf("a limit of %d packets %s is too small", c.Limit, d)
		}
	}
	return ""
}

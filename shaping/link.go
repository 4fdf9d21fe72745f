package shaping

import (
	"fmt"
	"time"
)

// Link is what a link does in its two directions, as its user sees them.
type Link struct {
	Down Conditions // toward the user
	Up   Conditions // from the user
}

// IsZero reports whether l does nothing.
func (l Link) IsZero() bool { return l.Down.IsZero() && l.Up.IsZero() }

// String is l for people: one spec where both directions are alike.
func (l Link) String() string {
	if l.Down == l.Up {
		return l.Down.String()
	}
	return fmt.Sprintf("down %s; up %s", orNothing(l.Down), orNothing(l.Up))
}

func orNothing(c Conditions) string {
	if c.IsZero() {
		return "unchanged"
	}
	return c.String()
}

// Sizes of queues, where nobody said one.
const (
	fullPacket = 1500 // bytes, by which a limit in packets is computed
	// defaultQueue is how long packets may wait at a rate: what the buffers of
	// access links have, neither starved nor bloated.
	defaultQueue = 100 * time.Millisecond
	// leastQueue keeps TCP's first window through a slow link.
	leastQueue = 10
	// Without a rate the delay line must hold what a fast sender puts into it.
	openRate  = 10_000_000_000
	leastOpen = 1_000
	mostOpen  = 200_000
)

// Resolve turns wishes into what a kernel takes: a Queue, or none, into a Limit, a
// Burst into a GilbertElliott. how says in a sentence how a Limit was chosen; "" where
// it was given.
//
// netem holds in one queue both those packets that wait for their turn and those that
// are delayed, so a limit below rate × delay throttles, and one far above it makes a
// queue of seconds. Source: docs/links.md, "Queues".
func (c Conditions) Resolve() (resolved Conditions, how string) {
	if c.Burst > 0 {
		c.GilbertElliott, c.Loss, c.Burst = bursts(c.Loss, c.Burst), 0, 0
	}
	if c.Limit > 0 {
		return c, ""
	}
	longest := c.Delay + c.Jitter
	if c.Distribution != nil {
		table := c.Distribution.table()
		var top int16
		for _, v := range table {
			top = max(top, v)
		}
		longest = c.Delay + time.Duration(float64(c.Jitter)*float64(top)/tableUnit)
	}
	rate, what := c.Rate, formatRate(c.Rate)
	if c.Trace != nil {
		rate = c.Trace.Rate()
		what = fmt.Sprintf("%.1f Mbit/s, the trace's mean,", float64(rate)/1e6)
	}
	if c.DelayTrace != nil {
		longest = c.DelayTrace.Most()
	}
	if rate == 0 {
		held := packets(openRate, longest)
		c.Limit = uint32(min(max(held, leastOpen), mostOpen))
		return c, fmt.Sprintf("limit=%d: what 10gbit puts into %v, from %d to %d packets", c.Limit, longest.Round(10*time.Microsecond), leastOpen, mostOpen)
	}
	queue := c.Queue
	if queue == 0 {
		queue = defaultQueue
	}
	c.Queue = 0
	held, waiting := packets(rate, longest), max(packets(rate, queue), leastQueue)
	c.Limit = uint32(min(held+waiting, 1<<31))
	return c, fmt.Sprintf("limit=%d: %d packets of %d bytes on the way (%s × %v) and %d that wait (%v)",
		c.Limit, held, fullPacket, what, longest.Round(10*time.Microsecond), waiting, queue)
}

// packets is how many full packets bits per second make in d, rounded up.
func packets(rate uint64, d time.Duration) uint64 {
	n := float64(rate) / 8 / fullPacket * d.Seconds()
	return uint64(n + 0.999999)
}

// Difference names each condition in which what a kernel says it has differs from what it
// was asked for, in the units that people write; nil for none. What a kernel does not tell
// is left out: distributions, and a seed that nobody asked for.
func Difference(asked, had Conditions) []string {
	if asked.Seed == 0 {
		had.Seed = 0
	}
	had.Distribution, had.Slot.Distribution = asked.Distribution, asked.Slot.Distribution
	var out []string
	for _, k := range keys {
		if a, b := k.format(&asked), k.format(&had); a != b {
			out = append(out, fmt.Sprintf("%s: asked for %s, the kernel has %s", k.name, orNone(a), orNone(b)))
		}
	}
	return out
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// wire is c as it looks once it has been through the kernel's units.
func (c Conditions) wire() (Conditions, []byte, error) {
	data, err := c.Encode()
	if err != nil {
		return Conditions{}, nil, err
	}
	back, err := Decode(data)
	return back, data, err
}

// Direction is one of a link's.
type Direction string

// The directions, as the user of a link sees them.
const (
	Down Direction = "down" // toward the user
	Up   Direction = "up"   // from the user
)

// Of is the link's conditions in direction d.
func (l *Link) Of(d Direction) *Conditions {
	if d == Up {
		return &l.Up
	}
	return &l.Down
}

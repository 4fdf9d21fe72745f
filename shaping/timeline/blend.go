package timeline

import (
	"math"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
)

// blend is x of the way from a to b, where x is in [0, 1].
//
// Numbers go in a line. Rates go by equal factors in equal times, since a rate of
// 100 Mbit/s that loses 1 Mbit/s a second is hardly slower for a minute and a half, and
// then gone. What has nothing in between is b's from the first moment: a distribution,
// another kind of loss, cells, marks, traces. Where one of the two has no rate, or no
// limit, the other's holds all the way. Source: docs/links.md, "Ramps".
func blend(a, b shaping.Conditions, x float64) shaping.Conditions {
	switch {
	case x <= 0 || a == b:
		return a
	case x >= 1:
		return b
	}
	c := b
	for _, f := range []func(*shaping.Conditions) *time.Duration{
		func(c *shaping.Conditions) *time.Duration { return &c.Delay },
		func(c *shaping.Conditions) *time.Duration { return &c.Jitter },
		func(c *shaping.Conditions) *time.Duration { return &c.Slot.MinDelay },
		func(c *shaping.Conditions) *time.Duration { return &c.Slot.MaxDelay },
		func(c *shaping.Conditions) *time.Duration { return &c.Slot.DistDelay },
		func(c *shaping.Conditions) *time.Duration { return &c.Slot.DistJitter },
	} {
		*f(&c) = lineTime(*f(&a), *f(&b), x)
	}
	for _, f := range []func(*shaping.Conditions) *float64{
		func(c *shaping.Conditions) *float64 { return &c.DelayCorrelation },
		func(c *shaping.Conditions) *float64 { return &c.LossCorrelation },
		func(c *shaping.Conditions) *float64 { return &c.Duplicate },
		func(c *shaping.Conditions) *float64 { return &c.DuplicateCorrelation },
		func(c *shaping.Conditions) *float64 { return &c.Corrupt },
		func(c *shaping.Conditions) *float64 { return &c.CorruptCorrelation },
		func(c *shaping.Conditions) *float64 { return &c.Reorder },
		func(c *shaping.Conditions) *float64 { return &c.ReorderCorrelation },
	} {
		*f(&c) = lineShare(*f(&a), *f(&b), x)
	}
	switch { // a trace of delays has nothing between it and another delay
	case b.DelayTrace == nil && b.Delay == 0:
		c.DelayTrace = a.DelayTrace
	case a.DelayTrace != nil:
		c.Delay, c.Jitter = b.Delay, b.Jitter
	}
	if c.DelayTrace != nil {
		c.Delay, c.Jitter, c.DelayCorrelation, c.Distribution = 0, 0, 0, nil
	}
	blendLoss(&c, &a, &b, x)
	blendQueue(&c, &a, &b, x)
	if c.Distribution == nil && a.Distribution != nil && b.Jitter == 0 && c.DelayTrace == nil {
		c.Distribution = a.Distribution // of the jitter that goes
	}
	return possible(c)
}

// line is x of the way from a to b.
func line(a, b, x float64) float64 { return a + (b-a)*x }

// lineTime is line in whole microseconds, which is what people read.
func lineTime(a, b time.Duration, x float64) time.Duration {
	return time.Duration(math.Round(line(float64(a), float64(b), x)/1e3)) * time.Microsecond
}

// lineShare is line in millionths.
func lineShare(a, b, x float64) float64 { return math.Round(line(a, b, x)*1e6) / 1e6 }

// blendLoss goes from one loss to another of the same kind, or from or to none.
func blendLoss(c, a, b *shaping.Conditions, x float64) {
	kindA, kindB := lossKind(a), lossKind(b)
	switch {
	case kindA != noLoss && kindB != noLoss && kindA != kindB:
		return // b's
	case kindB == noLoss:
		// The one that goes keeps its kind.
		c.Loss, c.Burst, c.GilbertElliott, c.FourState = a.Loss, a.Burst, a.GilbertElliott, a.FourState
	}
	switch {
	case kindA == gilbertElliott || kindB == gilbertElliott:
		from, to := a.GilbertElliott, b.GilbertElliott
		if kindA == noLoss { // never in the bad state, and no loss in the good one
			from = to
			from.ToBad, from.LossInGood = 0, 0
		}
		if kindB == noLoss {
			to = from
			to.ToBad, to.LossInGood = 0, 0
		}
		c.GilbertElliott = shaping.GilbertElliott{
			ToBad: lineShare(from.ToBad, to.ToBad, x), ToGood: lineShare(from.ToGood, to.ToGood, x),
			LossInBad: lineShare(from.LossInBad, to.LossInBad, x), LossInGood: lineShare(from.LossInGood, to.LossInGood, x),
		}
	case kindA == fourState || kindB == fourState:
		from, to := a.FourState, b.FourState
		if kindA == noLoss {
			from = to
			from.P13, from.P14 = 0, 0
		}
		if kindB == noLoss {
			to = from
			to.P13, to.P14 = 0, 0
		}
		c.FourState = shaping.FourState{
			P13: line(from.P13, to.P13, x), P31: line(from.P31, to.P31, x), P32: line(from.P32, to.P32, x),
			P23: line(from.P23, to.P23, x), P14: line(from.P14, to.P14, x),
		}
	default:
		c.Loss = lineShare(a.Loss, b.Loss, x)
		c.Burst = blendBurst(a.Burst, b.Burst, c.Loss, x)
	}
}

// blendBurst goes from one mean length of a run of losses to another, where 0 is losses
// that do not know of each other: their runs have 1/(1-loss), below which no burst of
// such a loss can be.
func blendBurst(a, b, loss, x float64) float64 {
	burst := math.Round(line(max(a, 1), max(b, 1), x)*100) / 100
	if loss >= 1 || burst <= 1/(1-loss) {
		return 0
	}
	return burst
}

type kind int

const (
	noLoss kind = iota
	plain
	gilbertElliott
	fourState
)

func lossKind(c *shaping.Conditions) kind {
	switch {
	case c.GilbertElliott != shaping.GilbertElliott{}:
		return gilbertElliott
	case c.FourState != shaping.FourState{}:
		return fourState
	case c.Loss > 0:
		return plain
	}
	return noLoss
}

// blendQueue goes from one rate to another, with what may wait at it.
func blendQueue(c, a, b *shaping.Conditions, x float64) {
	switch {
	case a.Rate > 0 && b.Rate > 0:
		rate := math.Exp(line(math.Log(float64(a.Rate)), math.Log(float64(b.Rate)), x))
		unit := 8.0 // the kernel counts bytes
		if rate >= 100_000 {
			unit = 1000
		}
		c.Rate = max(uint64(math.Round(rate/unit)*unit), 8)
	case b.Rate == 0 && b.Trace == nil:
		c.Rate, c.PacketOverhead, c.CellSize, c.CellOverhead, c.Trace = a.Rate, a.PacketOverhead, a.CellSize, a.CellOverhead, a.Trace
	}
	switch {
	case a.Limit > 0 && b.Limit > 0:
		c.Limit = uint32(math.Round(line(float64(a.Limit), float64(b.Limit), x)))
	case a.Queue > 0 && b.Queue > 0:
		c.Queue = lineTime(a.Queue, b.Queue, x)
	case b.Limit == 0 && b.Queue == 0:
		c.Limit, c.Queue = a.Limit, a.Queue
	}
}

// possible takes out what makes no sense where numbers come near to nothing.
func possible(c shaping.Conditions) shaping.Conditions {
	if c.Delay == 0 {
		c.Jitter, c.Reorder, c.ReorderCorrelation = 0, 0, 0
	}
	if c.Distribution == nil {
		c.Jitter = min(c.Jitter, c.Delay)
	}
	if c.Jitter == 0 {
		c.Distribution = nil
	}
	if c.Slot.DistJitter == 0 {
		c.Slot.DistDelay, c.Slot.Distribution = 0, nil
	}
	if c.Slot.DistJitter > 0 || c.Slot.DistDelay > 0 {
		c.Slot.MinDelay, c.Slot.MaxDelay = 0, 0
	}
	if c.Slot.MaxDelay == 0 && c.Slot.DistJitter == 0 {
		c.Slot = shaping.Slot{}
	}
	if c.Rate == 0 && c.Trace == nil {
		c.Queue = 0
	}
	return c
}

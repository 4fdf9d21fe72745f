package shaping

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Attributes of netem's options. Source: linux/pkt_sched.h, TCA_NETEM_*.
const (
	netemCorr      = 1
	netemDelayDist = 2
	netemReorder   = 3
	netemCorrupt   = 4
	netemLoss      = 5
	netemRate      = 6
	netemECN       = 7
	netemRate64    = 8
	netemLatency64 = 10
	netemJitter64  = 11
	netemSlot      = 12
	netemSlotDist  = 13
	netemSeed      = 14

	lossGI = 1 // nested in netemLoss
	lossGE = 2
)

// netemTick is the unit of netem's 32-bit times: psched's tick. Source:
// include/net/pkt_sched.h, PSCHED_SHIFT 6.
const netemTick = 64 * time.Nanosecond

// Encode is c as a netem qdisc takes it in TCA_OPTIONS: struct tc_netem_qopt
// (latency, limit, loss, gap, duplicate, jitter), then attributes. Every group is
// there, zero or not: what a change leaves out the kernel keeps from before. It
// wants conditions without wishes (see Resolve), and refuses none that ParseSpec
// returns but for tables too long to go out together. Decode is the inverse.
func (c Conditions) Encode() ([]byte, error) {
	if c.Queue != 0 || c.Burst != 0 {
		return nil, fmt.Errorf("encode netem: queue and burst are wishes: want them resolved")
	}
	if c.Trace != nil || c.DelayTrace != nil {
		return nil, errors.New("encode netem: it has no traces")
	}
	gap := c.Gap
	if gap == 0 && c.Reorder > 0 {
		gap = 1 // with 0 the kernel reorders nothing at all
	}
	b := words(ticks(c.Delay), c.Limit, fraction(c.Loss), gap, fraction(c.Duplicate), ticks(c.Jitter))
	add := func(kind uint16, values ...[]byte) { b = append(b, nlAttr(kind, values...)...) }
	add(netemLatency64, longs(c.Delay)) // nanoseconds; they override the ticks
	add(netemJitter64, longs(c.Jitter))
	add(netemCorr, words(fraction(c.DelayCorrelation), fraction(c.LossCorrelation), fraction(c.DuplicateCorrelation)))
	add(netemReorder, words(fraction(c.Reorder), fraction(c.ReorderCorrelation)))
	add(netemCorrupt, words(fraction(c.Corrupt), fraction(c.CorruptCorrelation)))
	bytes := c.Rate / 8
	add(netemRate, words(uint32(min(bytes, math.MaxUint32)), uint32(c.PacketOverhead), c.CellSize, uint32(c.CellOverhead)))
	if bytes > math.MaxUint32 {
		add(netemRate64, longs(bytes))
	}
	var ecn uint32
	if c.ECN {
		ecn = 1
	}
	add(netemECN, words(ecn))
	if g := c.GilbertElliott; g != (GilbertElliott{}) {
		// The kernel keeps h, the chance to come through in the bad state.
		add(netemLoss|nested, nlAttr(lossGE, words(fraction(g.ToBad), fraction(g.ToGood), math.MaxUint32-fraction(g.LossInBad), fraction(g.LossInGood))))
	} else if s := c.FourState; s != (FourState{}) {
		add(netemLoss|nested, nlAttr(lossGI, words(fraction(s.P13), fraction(s.P31), fraction(s.P32), fraction(s.P14), fraction(s.P23))))
	}
	s := c.Slot
	add(netemSlot, longs(s.MinDelay, s.MaxDelay), words(uint32(s.Packets), uint32(s.Bytes)), longs(s.DistDelay, s.DistJitter))
	if c.Seed != 0 {
		add(netemSeed, longs(c.Seed))
	}
	// A table from before cannot be taken away, and without jitter it does nothing:
	// where there is jitter, uniform goes out as a table, too.
	if c.Jitter > 0 {
		add(netemDelayDist, c.Distribution.bytes())
	}
	if s.DistJitter > 0 {
		add(netemSlotDist, s.Distribution.bytes())
	}
	// A nested attribute's length has 16 bits.
	if len(b) > math.MaxUint16-8 {
		return nil, fmt.Errorf("encode netem: the tables of distribution and slot_distribution have %d bytes together, want at most 64 KiB", len(b))
	}
	return b, nil
}

// nested is NLA_F_NESTED.
const nested = 0x8000

func ticks(d time.Duration) uint32 { return uint32(min(d/netemTick, math.MaxUint32)) }

// The kernel stores a probability as a fraction of 2^32-1, so that 1 is all of
// it. Source: linux/pkt_sched.h.
func fraction(p float64) uint32 { return uint32(math.Round(p * math.MaxUint32)) }

// Decode reads what Encode writes, and what a kernel says of a netem qdisc in
// TCA_OPTIONS. Attributes that it does not know are skipped, as newer kernels have
// more. The error is one about form; the values are taken as they are.
func Decode(data []byte) (Conditions, error) {
	if len(data) < 24 {
		return Conditions{}, errShort
	}
	u := func(i int) uint32 { return native.Uint32(data[4*i:]) }
	c := Conditions{Delay: time.Duration(u(0)) * netemTick, Limit: u(1), Loss: probability(u(2)),
		Gap: u(3), Duplicate: probability(u(4)), Jitter: time.Duration(u(5)) * netemTick}
	var rate64 uint64
	err := eachAttr(data[24:], func(kind uint16, v []byte) error {
		if len(v) < netemSizes[kind] {
			return fmt.Errorf("attribute %d: %w", kind, errShort)
		}
		if kind == netemRate64 {
			rate64 = native.Uint64(v)
			return nil
		}
		return c.decodeAttr(kind, v)
	})
	if err != nil {
		return Conditions{}, err
	}
	if rate64 > 0 { // there when the rate does not fit 32 bits
		c.Rate = 8 * rate64
	}
	if c.Gap == 1 && c.Reorder > 0 {
		c.Gap = 0
	}
	if c.Jitter <= 0 {
		c.Distribution = nil
	}
	if c.Slot.DistJitter <= 0 {
		c.Slot.Distribution = nil
	}
	return c, nil
}

// netemSizes are the least bytes of each attribute that is read.
var netemSizes = map[uint16]int{
	netemCorr: 12, netemReorder: 8, netemCorrupt: 8, netemRate: 16, netemECN: 4, netemRate64: 8,
	netemLatency64: 8, netemJitter64: 8, netemSlot: 40, netemSeed: 8, netemDelayDist: 2, netemSlotDist: 2,
}

// decodeAttr reads an attribute of at least the size in netemSizes.
func (c *Conditions) decodeAttr(kind uint16, v []byte) error {
	at := func(i int) uint32 { return native.Uint32(v[4*i:]) } // the i-th 32-bit word
	long := func(i int) time.Duration { return time.Duration(native.Uint64(v[i:])) }
	switch kind {
	case netemCorr:
		c.DelayCorrelation, c.LossCorrelation, c.DuplicateCorrelation = probability(at(0)), probability(at(1)), probability(at(2))
	case netemReorder:
		c.Reorder, c.ReorderCorrelation = probability(at(0)), probability(at(1))
	case netemCorrupt:
		c.Corrupt, c.CorruptCorrelation = probability(at(0)), probability(at(1))
	case netemLoss:
		return c.decodeLoss(v)
	case netemRate:
		c.Rate = 8 * uint64(at(0))
		c.PacketOverhead, c.CellSize, c.CellOverhead = int32(at(1)), at(2), int32(at(3))
	case netemECN:
		c.ECN = at(0) != 0
	case netemLatency64:
		c.Delay = long(0)
	case netemJitter64:
		c.Jitter = long(0)
	case netemSlot:
		d := c.Slot.Distribution
		c.Slot = Slot{long(0), long(8), long(24), long(32), d, int32(at(4)), int32(at(5))}
	case netemSeed:
		c.Seed = native.Uint64(v)
	case netemDelayDist:
		c.Distribution = tableDistribution(v)
	case netemSlotDist:
		c.Slot.Distribution = tableDistribution(v)
	}
	return nil
}

// decodeLoss reads the model of a loss with a memory; of several the last counts.
func (c *Conditions) decodeLoss(v []byte) error {
	return eachAttr(v, func(kind uint16, v []byte) error {
		at := func(i int) uint32 { return native.Uint32(v[4*i:]) }
		p := func(i int) float64 { return probability(at(i)) }
		switch {
		case kind == lossGE && len(v) >= 16:
			c.FourState, c.GilbertElliott = FourState{}, GilbertElliott{p(0), p(1), probability(math.MaxUint32 - at(2)), p(3)}
		case kind == lossGI && len(v) >= 20:
			c.GilbertElliott, c.FourState = GilbertElliott{}, FourState{P13: p(0), P31: p(1), P32: p(2), P14: p(3), P23: p(4)}
		case kind == lossGE || kind == lossGI:
			return fmt.Errorf("loss model %d: %w", kind, errShort)
		}
		return nil
	})
}

// probability undoes the kernel's fraction of 2^32-1, to the shortest number
// that the fraction stands for: 0.005 and not 0.00499999988.
func probability(fraction uint32) float64 {
	p := float64(fraction) / math.MaxUint32
	for scale := 1e2; scale <= 1e9; scale *= 10 {
		// Whoever set it may have rounded up, down or, by way of a 32-bit
		// float, to 7 digits.
		if short := math.Round(p*scale) / scale; math.Abs(short-p)*math.MaxUint32 <= 1 {
			return short
		}
	}
	return p
}

package shaping

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Attributes of netem's options. Source: linux/pkt_sched.h, TCA_NETEM_*.
const (
	netemCorr      = 1
	netemReorder   = 3
	netemCorrupt   = 4
	netemLoss      = 5
	netemRate      = 6
	netemECN       = 7
	netemRate64    = 8
	netemLatency64 = 10
	netemJitter64  = 11
	netemSlot      = 12
	netemSeed      = 14

	lossGI = 1 // nested in netemLoss
	lossGE = 2
)

// netemTick is the unit of netem's 32-bit times: psched's tick. Source:
// include/net/pkt_sched.h, PSCHED_SHIFT 6.
const netemTick = 64 * time.Nanosecond

var errShort = errors.New("netem's options are cut short")

// decodeNetem reads TCA_OPTIONS of a netem qdisc: struct tc_netem_qopt (latency,
// limit, loss, gap, duplicate, jitter), then attributes. The kernel's integers
// are in the machine's order. Attributes that it does not know are skipped, as
// newer kernels have more.
func decodeNetem(data []byte) (*Netem, error) {
	if len(data) < 24 {
		return nil, errShort
	}
	u := func(i int) uint32 { return binary.NativeEndian.Uint32(data[4*i:]) }
	n := &Netem{Gap: u(3)}
	n.Delay, n.Limit = time.Duration(u(0))*netemTick, u(1)
	n.Loss, n.Duplicate = probability(u(2)), probability(u(4))
	n.Jitter = time.Duration(u(5)) * netemTick
	var rate64 uint64
	err := eachAttr(data[24:], func(kind uint16, v []byte) error {
		// at reads the i-th 32-bit word of v.
		at := func(i int) uint32 { return binary.NativeEndian.Uint32(v[4*i:]) }
		if len(v) < netemSizes[kind] {
			return fmt.Errorf("attribute %d: %w", kind, errShort)
		}
		switch kind {
		case netemCorr:
			n.DelayCorrelation, n.LossCorrelation, n.DuplicateCorrelation = probability(at(0)), probability(at(1)), probability(at(2))
		case netemReorder:
			n.Reorder, n.ReorderCorrelation = probability(at(0)), probability(at(1))
		case netemCorrupt:
			n.Corrupt, n.CorruptCorrelation = probability(at(0)), probability(at(1))
		case netemLoss:
			return n.LossModel.decode(v)
		case netemRate:
			n.Rate = 8 * uint64(at(0))
			n.PacketOverhead, n.CellSize, n.CellOverhead = int32(at(1)), at(2), int32(at(3))
		case netemRate64:
			rate64 = binary.NativeEndian.Uint64(v)
		case netemECN:
			n.ECN = at(0) != 0
		case netemLatency64: // nanoseconds; it overrides the ticks
			n.Delay = time.Duration(binary.NativeEndian.Uint64(v))
		case netemJitter64:
			n.Jitter = time.Duration(binary.NativeEndian.Uint64(v))
		case netemSlot:
			long := func(i int) time.Duration { return time.Duration(binary.NativeEndian.Uint64(v[i:])) }
			n.Slot = &Slot{long(0), long(8), int32(at(4)), int32(at(5)), long(24), long(32)}
			if *n.Slot == (Slot{}) {
				n.Slot = nil
			}
		case netemSeed:
			n.Seed = binary.NativeEndian.Uint64(v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if rate64 > 0 { // there when the rate does not fit 32 bits
		n.Rate = 8 * rate64
	}
	return n, nil
}

// netemSizes are the least bytes of each attribute that is read.
var netemSizes = map[uint16]int{
	netemCorr: 12, netemReorder: 8, netemCorrupt: 8, netemRate: 16, netemECN: 4,
	netemRate64: 8, netemLatency64: 8, netemJitter64: 8, netemSlot: 40, netemSeed: 8,
}

func (m *LossModel) decode(nested []byte) error {
	return eachAttr(nested, func(kind uint16, v []byte) error {
		read := func(name string, into []float64) error {
			if len(v) < 4*len(into) {
				return fmt.Errorf("loss model %s: %w", name, errShort)
			}
			m.Kind = name
			for i := range into {
				into[i] = probability(binary.NativeEndian.Uint32(v[4*i:]))
			}
			return nil
		}
		switch kind {
		case lossGI:
			return read("gi", m.GI[:])
		case lossGE:
			return read("ge", m.GilbertElliott[:])
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

// eachAttr walks netlink attributes: length and kind in 16 bits each, the value,
// padding to 4 bytes. Source: linux/netlink.h, struct nlattr.
func eachAttr(data []byte, visit func(kind uint16, value []byte) error) error {
	const nestedOrNet = 0xc000 // NLA_F_NESTED | NLA_F_NET_BYTEORDER
	for len(data) >= 4 {
		size := int(binary.NativeEndian.Uint16(data))
		if size < 4 || size > len(data) {
			return errShort
		}
		if err := visit(binary.NativeEndian.Uint16(data[2:])&^nestedOrNet, data[4:size]); err != nil {
			return err
		}
		data = data[min((size+3)&^3, len(data)):]
	}
	if len(data) > 0 {
		return errShort
	}
	return nil
}

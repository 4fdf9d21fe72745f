package shaping

import "errors"

// Counters are what a qdisc has counted, and what it holds now.
type Counters struct {
	SentBytes      uint64 `json:"sent_bytes"`
	SentPackets    uint64 `json:"sent_packets"`
	Dropped        uint64 `json:"dropped"`    // lost on purpose, or because the queue was full
	Overlimits     uint64 `json:"overlimits"` // netem counts here what found the queue full, on kernels that tell it apart
	BacklogBytes   uint64 `json:"backlog_bytes"`
	BacklogPackets uint64 `json:"backlog_packets"` // queued and delayed
}

// Parts of TCA_STATS2. Source: linux/gen_stats.h.
const (
	statsBasic   = 1 // u64 bytes, u32 packets
	statsQueue   = 3 // u32 packets, bytes waiting, drops, requeues, overlimits
	statsPackets = 8 // u64 packets, where they no longer fit 32 bits
)

func (c *Counters) decode(data []byte) error {
	return eachAttr(data, func(kind uint16, v []byte) error {
		switch {
		case kind == statsBasic && len(v) >= 12:
			c.SentBytes, c.SentPackets = native.Uint64(v), uint64(native.Uint32(v[8:]))
		case kind == statsQueue && len(v) >= 20:
			c.BacklogPackets, c.BacklogBytes = uint64(native.Uint32(v)), uint64(native.Uint32(v[4:]))
			c.Dropped, c.Overlimits = uint64(native.Uint32(v[8:])), uint64(native.Uint32(v[16:]))
		case kind == statsPackets && len(v) >= 8:
			c.SentPackets = native.Uint64(v)
		case kind == statsBasic || kind == statsQueue:
			return errors.New("counters are cut short")
		}
		return nil
	})
}

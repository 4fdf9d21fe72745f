package shaping

import "time"

// Link is a network interface of the current network namespace.
type Link struct {
	Index int
	Name  string
	Kind  string // "veth", "dummy", "device", as the kernel spells it
	MTU   int    // bytes
	Up    bool
}

// State is what a link has.
type State struct {
	Link    Link
	Qdiscs  []Qdisc // as the kernel lists them
	Classes []Class // of htb
}

// Qdisc is a queueing discipline. At most one of the pointers is set, for the
// kinds whose parameters are read.
type Qdisc struct {
	Kind   string // "netem", "tbf", as the kernel spells it
	Handle string // "1:0"
	Parent string // "root", "ingress" or the class "1:10"
	Netem  *Netem
	TBF    *TBF
	HTB    *HTB
}

// Netem is a netem qdisc's parameters. Probabilities and correlations are in
// [0, 1].
type Netem struct {
	Conditions           // what is expressed as such
	DelayCorrelation     float64
	LossCorrelation      float64
	DuplicateCorrelation float64
	ReorderCorrelation   float64
	CorruptCorrelation   float64
	Gap                  uint32 // every Gap-th packet skips the delay; 0 for none
	ECN                  bool   // marks where it would drop

	PacketOverhead int32  // bytes added to each packet for Rate
	CellSize       uint32 // bytes; 0 for no cells
	CellOverhead   int32  // bytes

	// LossModel is "" for independent loss, else a model with its parameters.
	LossModel LossModel
	// Slot is set where packets are released in slots.
	Slot *Slot
	// Seed of the kernel's generator, where it has one (Linux 6.6).
	Seed uint64
}

// LossModel is a loss with memory. Exactly one of its arrays has values, as Kind says.
type LossModel struct {
	Kind           string     // "", "gi" (four states) or "ge" (Gilbert–Elliott)
	GI             [5]float64 // p13, p31, p32, p14, p23
	GilbertElliott [4]float64 // p, r, h, k1 as the kernel keeps them (tc shows 1-h)
}

// Slot is how packets are released in bursts.
type Slot struct {
	MinDelay, MaxDelay    time.Duration
	Packets, Bytes        int32 // most per slot; 0 for no limit
	DistDelay, DistJitter time.Duration
}

// TBF is a token bucket filter's parameters.
type TBF struct {
	Rate     uint64 // bits per second
	PeakRate uint64 // bits per second; 0 for none
	Limit    uint32 // bytes that may wait
}

// HTB is a hierarchical token bucket's parameters.
type HTB struct {
	Default uint32 // minor number of the class for what no filter matches
}

// Class is a class of an htb.
type Class struct {
	Handle string
	Parent string
	Rate   uint64 // bits per second
	Ceil   uint64 // bits per second
}

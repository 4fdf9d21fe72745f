package shaping

// Interface is a network interface, what the kernel calls a link.
type Interface struct {
	Index int
	Name  string
	Kind  string // "veth", "dummy", "device", as the kernel spells it
	MTU   int    // bytes
	Up    bool
}

// State is what an interface has.
type State struct {
	Interface Interface
	Qdiscs    []Qdisc // as the kernel lists them
	Classes   []Class // of htb
}

// Qdisc is a queueing discipline. At most one of the pointers is set, for the
// kinds whose parameters are read.
type Qdisc struct {
	Kind   string // "netem", "tbf", as the kernel spells it
	Handle string // "1:0"
	Parent string // "root", "ingress" or the class "1:10"
	Netem  *Conditions
	TBF    *TBF
	HTB    *HTB

	Counters Counters
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

// ClassState is what a class of a link under a lease has, in one direction.
type ClassState struct {
	Name       string
	To         []string // whom it leads to, as Leased has it
	Direction  Direction
	Conditions Conditions // zero where packets pass as they are
	Counters   Counters
}

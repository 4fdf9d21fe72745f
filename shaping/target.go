package shaping

import "os"

// Target is a network interface whose traffic is shaped.
type Target struct {
	// Namespace is a network namespace's file, such as /proc/PID/ns/net; nil for
	// the current one. Whoever opened it closes it, once nothing needs the target.
	Namespace *os.File
	Interface string // its name, such as eth0
	// Egress is which direction of the link leaves by this interface: Up, which ""
	// means too, on the user's own host or container; Down on a gateway's side of a veth
	// that leads to the user.
	Egress Direction
	// KeepGSO leaves segmentation to the interface. Packets are then lost and
	// queued in super-packets of up to 64 KiB.
	KeepGSO bool
}

// egress is the direction that leaves by the interface, and ingress the other.
func (t Target) egress() Direction {
	if t.Egress == Down {
		return Down
	}
	return Up
}

func (t Target) ingress() Direction {
	if t.egress() == Down {
		return Up
	}
	return Down
}

package shaping

import "os"

// Target is a network interface whose traffic is shaped.
type Target struct {
	// Namespace is a network namespace's file, such as /proc/PID/ns/net; nil for
	// the current one. Whoever opened it closes it, once nothing needs the target.
	Namespace *os.File
	// Socket, instead of a Namespace, is a NETLINK_ROUTE socket that was made in the
	// interface's namespace and does not block, for a namespace that this process
	// cannot enter: its messages act there, if this process has CAP_NET_ADMIN over the
	// namespace, as who made it has. Nobody else may use it meanwhile. Apply,
	// Look and RestoreFound can do with it, in the direction that leaves the interface.
	// What takes more than netlink (arriving packets, whose GRO is an ioctl's) or a
	// life of its own (a lease) is refused.
	Socket    *os.File
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

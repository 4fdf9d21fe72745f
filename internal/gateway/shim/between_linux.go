package shim

import "syscall"

// between is a namespace between the gateway's and the command's, for links whose packets
// a process carries where it can make no devices: each end of the link has its other end
// here, and a packet socket takes what comes to that, as it would come out of a device.
type between struct {
	route    int // NETLINK_ROUTE
	down, up int // packet sockets
}

// openBetween moves this thread to a new namespace and opens its sockets.
func openBetween() (*between, error) {
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		return nil, at("unshare", err)
	}
	// Nobody lives here who should speak IPv6. Where that cannot be written the ends get
	// a few more packets.
	for _, of := range []string{"all", "default"} {
		_ = write("/proc/sys/net/ipv6/conf/"+of+"/disable_ipv6", "1")
	}
	b := &between{}
	var err error
	if b.route, err = openNetlink(syscall.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	for _, fd := range []*int{&b.down, &b.up} {
		if *fd, err = openPacket(); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// packetBuffer is what a socket may hold that was not read yet, bytes: some ms of
// 10 Gbit/s. Without root the kernel grants less (net.core.rmem_max).
const packetBuffer = 16 << 20

// Source: linux/socket.h, linux/if_packet.h.
const (
	levelPacket          = 263
	packetVirtioHeader   = 15
	packetBypass         = 20 // of queueing disciplines, on the way out
	packetIgnoreOutgoing = 23
)

// openPacket opens a socket that takes no packets before it is bound.
func openPacket() (fd int, err error) {
	if fd, err = syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, 0); err != nil {
		return 0, at("socket packet", err)
	}
	for _, option := range []int{packetVirtioHeader, packetIgnoreOutgoing, packetBypass} {
		if err := syscall.SetsockoptInt(fd, levelPacket, option, 1); err != nil {
			_ = syscall.Close(fd)
			return 0, at("setsockopt packet", err)
		}
	}
	if syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, packetBuffer) != nil {
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, packetBuffer)
	}
	return fd, nil
}

// connect makes the pairs of ends and gives each place its device.
func (b *between) connect(gateway, command *place, o *Order) error {
	if err := exchange(b.route, o.LinkBetween); err != nil {
		return at("the ends between", err)
	}
	_ = syscall.Close(b.route)
	for _, end := range []struct{ fd, index int }{{b.down, o.DeviceOutside.Between}, {b.up, o.DeviceInside.Between}} {
		to := &syscall.SockaddrLinklayer{Protocol: everyProtocol(), Ifindex: end.index}
		if err := syscall.Bind(end.fd, to); err != nil {
			return at("bind packet", err)
		}
	}
	gateway.device, command.device = b.down, b.up
	return nil
}

// everyProtocol is ETH_P_ALL in the network's order.
func everyProtocol() uint16 {
	return native16([]byte{0, syscall.ETH_P_ALL})
}

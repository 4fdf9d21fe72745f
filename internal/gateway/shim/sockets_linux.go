package shim

import "syscall"

// backlog is how many connections may wait to be accepted; the kernel lowers it
// to net.core.somaxconn.
const backlog = 4096

// opened are the descriptors to hand over, by role; 0 is none: standard input is
// never one of them.
type opened [Roles]int

// openOutside opens the gateway's sockets in the current namespace.
func (o *opened) openOutside(ipv6 bool, ports Ports) error {
	for _, r := range []Role{TCP4, TCP6, DNS4, DNS6, DNSStream4, DNSStream6, UDP4, UDP6} {
		if r.IPv6() && !ipv6 {
			continue
		}
		var err error
		switch r {
		case TCP4, TCP6:
			o[r], err = listenTCP(r.IPv6(), false, ports.TCP)
		case DNSStream4, DNSStream6:
			o[r], err = listenTCP(r.IPv6(), false, 53)
		case DNS4, DNS6:
			o[r], err = openUDP(r.IPv6(), false, 53)
		case UDP4, UDP6:
			o[r], err = openRaw(r.IPv6(), syscall.IPPROTO_UDP)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openInside opens the sockets for the loopback in the current namespace, which
// is the command's.
func (o *opened) openInside(ipv6 bool, ports Ports) error {
	for _, r := range []Role{Local4, Local6, LocalDNS4, LocalDNS6, LocalDNSStream4, LocalDNSStream6, LocalReply4, LocalReply6} {
		if r.IPv6() && !ipv6 {
			continue
		}
		var err error
		switch r {
		case Local4, Local6:
			o[r], err = listenTCP(r.IPv6(), true, ports.Local)
		case LocalDNSStream4, LocalDNSStream6:
			o[r], err = listenTCP(r.IPv6(), true, ports.LocalDNS)
		case LocalDNS4, LocalDNS6:
			o[r], err = openUDP(r.IPv6(), true, ports.LocalDNS)
		case LocalReply4, LocalReply6:
			o[r], err = openRaw(r.IPv6(), syscall.IPPROTO_RAW) // the sender writes the IP header
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// transparent opens a socket that can have any address and binds it to a port,
// of all addresses or of the loopback's.
func transparent(ipv6, local bool, kind, port int, name string) (fd int, err error) {
	domain, level, option := syscall.AF_INET, syscall.SOL_IP, syscall.IP_TRANSPARENT
	if ipv6 {
		domain, level, option = syscall.AF_INET6, syscall.SOL_IPV6, ipv6Transparent
	}
	fd, err = syscall.Socket(domain, kind|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, at("socket", err)
	}
	defer func() {
		if err != nil {
			_ = syscall.Close(fd)
		}
	}()
	if err := syscall.SetsockoptInt(fd, level, option, 1); err != nil {
		return 0, at("setsockopt transparent", err)
	}
	var to syscall.Sockaddr
	if ipv6 {
		if err := syscall.SetsockoptInt(fd, syscall.SOL_IPV6, syscall.IPV6_V6ONLY, 1); err != nil {
			return 0, at("setsockopt v6only", err)
		}
		a := &syscall.SockaddrInet6{Port: port}
		if local {
			a.Addr[15] = 1
		}
		to = a
	} else {
		a := &syscall.SockaddrInet4{Port: port}
		if local {
			a.Addr = [4]byte{127, 0, 0, 1}
		}
		to = a
	}
	if err := syscall.Bind(fd, to); err != nil {
		return 0, at("bind "+name, err)
	}
	return fd, nil
}

func listenTCP(ipv6, local bool, port int) (int, error) {
	fd, err := transparent(ipv6, local, syscall.SOCK_STREAM, port, "tcp")
	if err != nil {
		return 0, err
	}
	if err := syscall.Listen(fd, backlog); err != nil {
		_ = syscall.Close(fd)
		return 0, at("listen", err)
	}
	return fd, nil
}

// openUDP opens a socket that tells with each datagram where it was sent to.
func openUDP(ipv6, local bool, port int) (int, error) {
	fd, err := transparent(ipv6, local, syscall.SOCK_DGRAM, port, "udp")
	if err != nil {
		return 0, err
	}
	if err := tellDestination(fd, ipv6); err != nil {
		_ = syscall.Close(fd)
		return 0, err
	}
	return fd, nil
}

func tellDestination(fd int, ipv6 bool) error {
	level, option := syscall.SOL_IP, syscall.IP_PKTINFO
	if ipv6 {
		level, option = syscall.SOL_IPV6, syscall.IPV6_RECVPKTINFO
	}
	return at("setsockopt pktinfo", syscall.SetsockoptInt(fd, level, option, 1))
}

func openRaw(ipv6 bool, protocol int) (int, error) {
	domain := syscall.AF_INET
	if ipv6 {
		domain = syscall.AF_INET6
	}
	fd, err := syscall.Socket(domain, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, protocol)
	if err != nil {
		return 0, at("socket raw", err)
	}
	if protocol == syscall.IPPROTO_UDP {
		if err := tellDestination(fd, ipv6); err != nil {
			_ = syscall.Close(fd)
			return 0, err
		}
	}
	return fd, nil
}

// openProbes opens a socket that sends and sees ICMP, and tells with each packet when it
// came and how many it could not hold.
func openProbes() (int, error) {
	fd, err := openRaw(false, syscall.IPPROTO_ICMP)
	if err != nil {
		return 0, err
	}
	for _, option := range []int{syscall.SO_TIMESTAMPNS, rxqOverflow} {
		if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, option, 1); err != nil {
			_ = syscall.Close(fd)
			return 0, at("setsockopt probes", err)
		}
	}
	if syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, probesBuffer) != nil {
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, probesBuffer)
	}
	return fd, nil
}

const (
	// rxqOverflow is SO_RXQ_OVFL. Source: asm-generic/socket.h.
	rxqOverflow = 40
	// probesBuffer is what a probes' socket may hold, bytes. Without root the kernel
	// grants less.
	probesBuffer = 4 << 20
)

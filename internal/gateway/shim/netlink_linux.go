package shim

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

func openNetlink(protocol int) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return 0, at("socket netlink", err)
	}
	// A kernel that does not answer must not hang the command's start.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		_ = unix.Close(fd)
		return 0, at("setsockopt netlink", err)
	}
	return fd, nil
}

// exchange sends a batch and waits for the answer to its last message. The kernel
// reports each message that it refuses; the first counts.
func exchange(fd int, b Batch) error {
	if err := unix.Sendto(fd, b.Messages, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return at("sendto netlink", err)
	}
	buf := make([]byte, 8<<10)
	var refused error
	for {
		flags := 0
		if refused != nil {
			flags = unix.MSG_DONTWAIT // an answer to the last message may not come then
		}
		n, _, err := unix.Recvfrom(fd, buf, flags)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil && refused != nil:
			return refused
		case err != nil:
			return at("recvfrom netlink", err)
		}
		for rest := buf[:n]; len(rest) >= unix.NLMSG_HDRLEN+4; {
			size := int(binary.NativeEndian.Uint32(rest))
			if size < unix.NLMSG_HDRLEN+4 || size > len(rest) {
				return at("netlink", errShort)
			}
			number := int(binary.NativeEndian.Uint32(rest[8:]))
			code := int32(binary.NativeEndian.Uint32(rest[unix.NLMSG_HDRLEN:]))
			isAnswer := binary.NativeEndian.Uint16(rest[4:]) == unix.NLMSG_ERROR // of success, too
			if isAnswer && code != 0 && refused == nil {
				refused = &problem{doing: "netlink", err: unix.Errno(-code), number: number}
			}
			if isAnswer && number == b.Last {
				return refused
			}
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
}

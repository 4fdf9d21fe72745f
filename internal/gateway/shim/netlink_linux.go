package shim

import (
	"syscall"
)

func openNetlink(protocol int) (int, error) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, protocol)
	if err != nil {
		return 0, at("socket netlink", err)
	}
	// A kernel that does not answer must not hang the command's start.
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: 10}); err != nil {
		_ = syscall.Close(fd)
		return 0, at("setsockopt netlink", err)
	}
	return fd, nil
}

// exchange sends a batch and waits for the answer to its last message. The kernel
// reports each message that it refuses; the first counts.
func exchange(fd int, b Batch) error {
	if err := syscall.Sendto(fd, b.Messages, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return at("sendto netlink", err)
	}
	buf := make([]byte, 8<<10)
	var refused error
	for {
		flags := 0
		if refused != nil {
			flags = syscall.MSG_DONTWAIT // an answer to the last message may not come then
		}
		n, _, err := syscall.Recvfrom(fd, buf, flags)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil && refused != nil:
			return refused
		case err != nil:
			return at("recvfrom netlink", err)
		}
		for rest := buf[:n]; len(rest) >= syscall.NLMSG_HDRLEN+4; {
			size := int(native32(rest))
			if size < syscall.NLMSG_HDRLEN+4 || size > len(rest) {
				return at("netlink", errShort)
			}
			number := int(native32(rest[8:]))
			code := int32(native32(rest[syscall.NLMSG_HDRLEN:]))
			isAnswer := native16(rest[4:]) == syscall.NLMSG_ERROR // of success, too
			if isAnswer && code != 0 && refused == nil {
				refused = &problem{doing: "netlink", err: syscall.Errno(-code), number: number}
			}
			if isAnswer && number == b.Last {
				return refused
			}
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
}

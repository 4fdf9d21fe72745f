package shim

import (
	"syscall"
	"time"
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
func exchange(fd int, b Batch) error { return ask(fd, b, nil) }

// ask does likewise, and passes on what else the kernel answers: the whole message.
func ask(fd int, b Batch, told func(message []byte)) error {
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
			if !isAnswer && told != nil {
				told(rest[:size])
			}
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
}

// awaitActive waits until the link's end that state asks about sends what it is given.
// The end that came up first gets its carrier from the other, and the kernel does the
// rest some time later: until then what is sent is lost and nobody is told, and the
// command's first connection would come a second late. Since Linux 6.10 asking is enough.
func awaitActive(fd int, state Batch) error {
	const tries, pause = 5000, time.Millisecond
	for range tries {
		active := false
		if err := ask(fd, state, func(message []byte) { active = active || hasQueue(message) }); err != nil {
			return err
		}
		if active {
			return nil
		}
		time.Sleep(pause)
	}
	return at("wait for its carrier", syscall.ENETDOWN)
}

// hasQueue reports whether a message of the kind RTM_NEWLINK tells of a queueing
// discipline other than noop, which is there while a link is not active and drops all.
func hasQueue(message []byte) bool {
	const noop = "noop"
	if len(message) < syscall.NLMSG_HDRLEN+syscall.SizeofIfInfomsg || native16(message[4:]) != syscall.RTM_NEWLINK {
		return false
	}
	for rest := message[syscall.NLMSG_HDRLEN+syscall.SizeofIfInfomsg:]; len(rest) >= syscall.SizeofRtAttr; {
		size := int(native16(rest))
		if size < syscall.SizeofRtAttr || size > len(rest) {
			return false
		}
		if value := rest[syscall.SizeofRtAttr:size]; native16(rest[2:]) == syscall.IFLA_QDISC {
			return len(value) > 1 && string(value[:len(value)-1]) != noop
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	return false
}

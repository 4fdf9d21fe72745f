package gateway

import (
	"encoding/binary"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// hostListens reports whether a TCP socket of this process's network namespace
// listens at an address. It asks the kernel and connects to nobody.
// Source of the layout: linux/inet_diag.h.
func hostListens(at netip.AddrPort) (bool, error) {
	const byFamily, requestSize = 20, 56
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return false, os.NewSyscallError("socket netlink", err)
	}
	defer func() { _ = unix.Close(fd) }()
	request := make([]byte, unix.NLMSG_HDRLEN+requestSize)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], byFamily)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST)
	body := request[unix.NLMSG_HDRLEN:]
	body[0], body[1] = unix.AF_INET, unix.IPPROTO_TCP
	if at.Addr().Is6() {
		body[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(body[4:], 1<<listen) // states
	binary.BigEndian.PutUint16(body[8:], at.Port())
	copy(body[12:], at.Addr().AsSlice())
	// The cookie that stands for any.
	binary.NativeEndian.PutUint64(body[48:], ^uint64(0))
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, os.NewSyscallError("sendto netlink", err)
	}
	answer := make([]byte, 1024)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return false, os.NewSyscallError("recvfrom netlink", err)
	}
	if n < unix.NLMSG_HDRLEN+4 {
		return false, unix.EBADMSG
	}
	if binary.NativeEndian.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		switch errno := unix.Errno(-int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:]))); errno {
		case unix.ENOENT:
			return false, nil
		default:
			return false, errno
		}
	}
	return true, nil
}

// listen is TCP's state of a listener. Source: net/tcp_states.h.
const listen = 10

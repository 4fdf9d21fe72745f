package shaping

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtoolValue is struct ethtool_value. Source: linux/ethtool.h.
type ethtoolValue struct{ cmd, data uint32 }

// ifreqData is struct ifreq with its pointer to data.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte // the union is larger than a pointer
}

// hasGRO reports whether the interface merges arriving segments.
func hasGRO(t Target) (bool, error) {
	v := ethtoolValue{cmd: unix.ETHTOOL_GGRO}
	err := ethtool(t, &v)
	if err == unix.EOPNOTSUPP {
		return false, nil
	}
	return v.data != 0, err
}

func setGRO(t Target, on bool) error {
	v := ethtoolValue{cmd: unix.ETHTOOL_SGRO}
	if on {
		v.data = 1
	}
	return ethtool(t, &v)
}

// ethtool asks by ioctl: the netlink module has no ethtool.
func ethtool(t Target, v *ethtoolValue) error {
	fd, err := socketIn(t)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	req := ifreqData{data: unsafe.Pointer(v)}
	copy(req.name[:unix.IFNAMSIZ-1], t.Interface)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(v)
	if errno != 0 {
		return errno
	}
	return nil
}

// socketIn opens a socket in the target's namespace. It stays in it.
func socketIn(t Target) (fd int, err error) {
	if t.Namespace == nil {
		return unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	}
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() { // ends with its thread, which is never unlocked: it is in another namespace
		runtime.LockOSThread()
		if err := unix.Setns(int(t.Namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{-1, fmt.Errorf("enter the namespace: %w", err)}
			return
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		done <- result{fd, err}
	}()
	r := <-done
	return r.fd, r.err
}

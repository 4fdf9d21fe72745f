package shim

import (
	"syscall"
	"unsafe"
)

// Source: linux/if_tun.h. The numbers of the calls are those of most machines; where they
// are others no device can be made, and a link's ends lie between.
const (
	tunPath       = "/dev/net/tun"
	tunSetIFF     = 0x400454ca
	tunSetIndex   = 0x400454da
	tunSetOffload = 0x400454d0

	isTAP, hasNoInfo, hasVirtioHeader = 0x2, 0x1000, 0x4000

	// offloads are checksums, and segmentation over IPv4 and IPv6, with ECN.
	offloads = 1 | 2 | 4 | 8
)

// openDevice makes an end of the link in the current namespace, which is the one where
// the file is opened. It is an Ethernet device, as a veth's end is, and takes what the
// kernel gives one that can do checksums and segmentation: packets of up to 64 KiB. Some
// systems let root alone make one, and containers do not have the file.
func (c *place) openDevice(d Device) error {
	fd, err := syscall.Open(tunPath, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return at("open "+tunPath, err)
	}
	index := int32(d.Index)
	var request struct { // struct ifreq
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], d.Name)
	request.flags = isTAP | hasNoInfo | hasVirtioHeader
	err = at("index of "+d.Name, control(fd, tunSetIndex, unsafe.Pointer(&index)))
	if err == nil {
		err = at("make "+d.Name, control(fd, tunSetIFF, unsafe.Pointer(&request)))
	}
	if err == nil {
		if _, _, no := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), tunSetOffload, offloads); no != 0 {
			err = at("offloads of "+d.Name, no)
		}
	}
	if err != nil {
		_ = syscall.Close(fd)
		return err
	}
	c.device = fd
	return nil
}

func control(fd int, number uintptr, with unsafe.Pointer) error {
	if _, _, no := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), number, uintptr(with)); no != 0 {
		return no
	}
	return nil
}

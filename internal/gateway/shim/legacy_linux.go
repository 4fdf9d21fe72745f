package shim

import (
	"errors"
	"syscall"
	"unsafe"
)

// Table is one of iptables', for a kernel that has no nftables: what a socket option takes.
type Table struct {
	Bytes   []byte
	Option  int
	Pointer int // where in Bytes the address of room for counters belongs
}

// countersBefore is room for the counters of the table before, which nobody reads.
var countersBefore [4 << 10]byte

var errNarrow = errors.New("this machine's tables are others")

// installLegacy replaces the tables of the namespace that two sockets are of. Without IPv6
// its socket is 0, and its table stays. What it installs asks about nothing.
func (c *place) installLegacy(tables [2]Table, four, six int) error {
	for i, fd := range []int{four, six} {
		if i == 1 && fd == 0 {
			break
		}
		t := tables[i]
		if unsafe.Sizeof(uintptr(0)) != 8 || t.Pointer+8 > len(t.Bytes) {
			return errNarrow
		}
		*(*[8]byte)(t.Bytes[t.Pointer:]) = *(*[8]byte)(unsafe.Pointer(&[]uintptr{uintptr(unsafe.Pointer(&countersBefore)), 0}[0]))
		if err := syscall.SetsockoptString(fd, []int{syscall.SOL_IP, syscall.SOL_IPV6}[i], t.Option, string(t.Bytes)); err != nil {
			return at("setsockopt iptables", err)
		}
	}
	if c.queue != 0 {
		c.dropQueue()
	}
	return nil
}

// orLegacy is err, or nil where tables of iptables could take the rules' place.
func (c *place) orLegacy(err error, tables [2]Table, four, six int) error {
	if err != nil && four != 0 && c.installLegacy(tables, four, six) == nil {
		return nil
	}
	return err
}

package shaping

import (
	"encoding/binary"
	"errors"
)

// The kernel's integers are in the machine's order.
var native = binary.NativeEndian

var errShort = errors.New("netem's options are cut short")

// nlAttr is one netlink attribute with its padding; several values make it nested.
// Source: linux/netlink.h, struct nlattr.
func nlAttr(kind uint16, values ...[]byte) []byte {
	b := make([]byte, 4)
	for _, v := range values {
		b = append(b, v...)
	}
	native.PutUint16(b, uint16(len(b)))
	native.PutUint16(b[2:], kind)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// eachAttr walks netlink attributes: length and kind in 16 bits each, the value,
// padding to 4 bytes.
func eachAttr(data []byte, visit func(kind uint16, value []byte) error) error {
	const nestedOrNet = 0xc000 // NLA_F_NESTED | NLA_F_NET_BYTEORDER
	for len(data) >= 4 {
		size := int(native.Uint16(data))
		if size < 4 || size > len(data) {
			return errShort
		}
		if err := visit(native.Uint16(data[2:])&^nestedOrNet, data[4:size]); err != nil {
			return err
		}
		data = data[min((size+3)&^3, len(data)):]
	}
	if len(data) > 0 {
		return errShort
	}
	return nil
}

// words are 32-bit values side by side.
func words(values ...uint32) []byte {
	b := make([]byte, 0, 4*len(values))
	for _, v := range values {
		b = native.AppendUint32(b, v)
	}
	return b
}

// longs are 64-bit values side by side.
func longs[N ~int64 | ~uint64](values ...N) []byte {
	b := make([]byte, 0, 8*len(values))
	for _, v := range values {
		b = native.AppendUint64(b, uint64(v))
	}
	return b
}

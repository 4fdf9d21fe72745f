//go:build linux

package nat

import (
	"embed"
	"encoding/binary"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// kept are the encoded rules, as the test of this package writes them under
// -update and holds them against the encoder: encoding anew costs a command's
// start some milliseconds. They are little-endian.
//
//go:embed testdata/*.netlink
var kept embed.FS

// Batches returns the transactions for the gateway's namespace and the command's.
func (r Ruleset) Batches() (outside, inside Batch, err error) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		if outside, err = r.encodeOutside(); err == nil {
			inside, err = r.encodeInside()
		}
		return outside, inside, err
	}
	if outside, err = r.read("outside"); err == nil {
		inside, err = r.read("inside")
	}
	return outside, inside, err
}

func (r Ruleset) read(where string) (b Batch, err error) {
	b.Bytes, err = kept.ReadFile("testdata/" + r.file(where))
	b.Last = asked(b.Bytes)
	return b, err
}

func (r Ruleset) file(where string) string {
	family := "ip"
	if r.IPv6 {
		family = "inet"
	}
	return strings.Join([]string{family, [...]string{"plain", "native", "compat"}[r.Ask], where}, "-") + ".netlink"
}

// asked returns the number of the message that asks for an answer.
func asked(b []byte) int {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if netlink.HeaderFlags(binary.NativeEndian.Uint16(b[6:]))&netlink.Acknowledge != 0 {
			return int(binary.NativeEndian.Uint32(b[8:]))
		}
		b = b[min((max(size, unix.NLMSG_HDRLEN)+3)&^3, len(b)):]
	}
	return 0
}

//go:build linux

package nat

import (
	"encoding/binary"
	"testing"
)

// A table is one that the kernel can walk: its entries lie one behind the other, each
// hook begins and ends at one, and each part has a size in whole words. That the kernel
// takes them, and what they do, the gateway's tests show in a kernel of their own.
func TestLegacyTables(t *testing.T) {
	e := binary.NativeEndian
	for name, both := range map[string]Legacy{"outside": LegacyOutside(), "inside": LegacyInside()} {
		for family, b := range map[string][]byte{"IPv4": both.IPv4, "IPv6": both.IPv6} {
			head := 88 // where target_offset is in an entry
			if family == "IPv6" {
				head = 140
			}
			const entriesAt = LegacyPointer + 8
			if got := int(e.Uint32(b[40:])); got != len(b)-entriesAt {
				t.Errorf("%s %s: a size of %d, want %d", name, family, got, len(b)-entriesAt)
			}
			starts := map[uint32]bool{}
			entries, n := b[entriesAt:], uint32(0)
			for at := 0; at < len(entries); n++ {
				starts[uint32(at)] = true
				target, next := int(e.Uint16(entries[at+head:])), int(e.Uint16(entries[at+head+2:]))
				end := (head + 4 + 4 + 7) &^ 7
				end += 16
				for end < target { // matches
					size := int(e.Uint16(entries[at+end:]))
					if size < 32 || size%8 != 0 {
						t.Fatalf("%s %s: entry %d has a match of %d bytes", name, family, n, size)
					}
					end += size
				}
				if end != target || target+int(e.Uint16(entries[at+target:])) != next || next%8 != 0 {
					t.Fatalf("%s %s: entry %d has its matches' end at %d, its target at %d, and the next at %d", name, family, n, end, target, next)
				}
				at += next
			}
			if got := e.Uint32(b[36:]); got != n {
				t.Errorf("%s %s: %d entries, it says %d", name, family, n, got)
			}
			for i := range 2 * hooks { // hook_entry and underflow
				if at := e.Uint32(b[44+4*i:]); !starts[at] {
					t.Errorf("%s %s: a hook's number %d is %d, where no entry begins", name, family, i, at)
				}
			}
			if got := e.Uint32(b[LegacyPointer-4:]); got != legacyCounters {
				t.Errorf("%s %s: room for %d counters, want %d", name, family, got, legacyCounters)
			}
		}
	}
}

//go:build linux

package nat

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the encoded rules")

// What is kept is what the encoder makes of the rules.
func TestKeptRules(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("they are little-endian, and not used here")
	}
	for _, r := range []Ruleset{{false, AskNot}, {false, AskNative}, {false, AskCompat}, {true, AskNot}, {true, AskNative}, {true, AskCompat}} {
		for where, encode := range map[string]func() (Batch, error){"outside": r.encodeOutside, "inside": r.encodeInside} {
			want, err := encode()
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(filepath.Join("testdata", r.file(where)), want.Bytes, 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			got, err := r.read(where)
			if err != nil || !bytes.Equal(got.Bytes, want.Bytes) || got.Last != want.Last {
				t.Errorf("%s is not what the rules say (%v): go test -run TestKeptRules -update, and look at the change", r.file(where), err)
			}
		}
	}
}

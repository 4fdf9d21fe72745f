package probes

import "testing"

// FuzzPacket holds: what is encoded is decoded, one flipped bit is found, and nothing
// else is taken for a packet of the same token.
func FuzzPacket(f *testing.F) {
	f.Add(uint64(7), uint32(70000), true, 44, 13, []byte{0x45, 0, 0, 20})
	f.Add(uint64(1)<<63, uint32(0), false, 1480, 11839, []byte(nil))
	f.Fuzz(func(t *testing.T, token uint64, number uint32, train bool, size, bit int, wild []byte) {
		size = shortest + int(uint(size)%1460)
		in := packet{token, train, number}
		b := make([]byte, ipHeader+size)
		b[0] = 0x45
		in.encode(b[ipHeader:])
		out, got, ok := decode(b)
		if !ok || out != in || got != len(b) {
			t.Fatalf("%+v of %d bytes became %+v of %d, %v", in, len(b), out, got, ok)
		}
		bit = int(uint(bit) % uint(8*size))
		b[ipHeader+bit/8] ^= 1 << (bit % 8)
		if out, _, ok := decode(b); ok {
			t.Fatalf("with bit %d flipped %+v became %+v", bit, in, out)
		}
		if p, _, ok := decode(wild); ok {
			again := make([]byte, len(wild))
			p.encode(again[int(wild[0]&15)*4:])
		}
	})
}

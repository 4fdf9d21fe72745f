package proxy

import (
	"testing"
)

func TestGuess(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want protocol
		sure bool
	}{
		{"", protoNothing, false},
		{"GET", protoHTTP1, false},
		{"GET ", protoHTTP1, true},
		{"\r\nGET / ", protoHTTP1, true},
		{"M-SEARCH * HTTP/1.1", protoHTTP1, true},
		{"PRI", protoHTTP2, false},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", protoHTTP2, true},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00", protoHTTP2, true},
		{"PRINT / HTTP/1.1", protoHTTP1, true},
		{"\x16\x03\x01", protoTLS, true},
		{"SSH-2.0-x\r\n", protoRaw, true},
		{" GET", protoRaw, true},
		{"\x00", protoRaw, true},
		{"averyveryverylongwordthatisnomethod", protoRaw, true},
	} {
		if got, sure := guess([]byte(tc.in)); got != tc.want || sure != tc.sure {
			t.Errorf("guess(%q) = %q, %v, want %q, %v", tc.in, got, sure, tc.want, tc.sure)
		}
	}
}

// What is certain of a beginning stays so, whatever follows.
func FuzzGuess(f *testing.F) {
	for _, s := range []string{"GET / HTTP/1.1\r\n", preface, "\x16\x03\x01\x00", "SSH-2.0", "\r\n\r\nPOST x", "PRI * HTTP/2.1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var first protocol
		decided := false
		for i := range len(b) + 1 {
			got, sure := guess(b[:i])
			if decided && (!sure || got != first) {
				t.Fatalf("guess(%q) = %q, %v, but %q was certain before", b[:i], got, sure, first)
			}
			if sure && !decided {
				first, decided = got, true
			}
		}
	})
}

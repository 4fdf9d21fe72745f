package http1

import (
	"strings"
	"testing"
)

func TestKeepCopiesAHeadOnce(t *testing.T) {
	var s source
	a, b := []byte("GET / HTTP/1.1\r\nHost: a\r\n"), []byte("GET / HTTP/1.1\r\nHost: b\r\n")
	first := s.keep(a)
	if n := testing.AllocsPerRun(100, func() { _ = s.keep(a) }); n != 0 {
		t.Errorf("the same head again: %v allocations, want none", n)
	}
	if got := s.keep(b); got != string(b) {
		t.Errorf("another head: got %q, want %q", got, b)
	}
	copy(a, "PUT")
	if want := "GET / HTTP/1.1\r\nHost: a\r\n"; first != want {
		t.Errorf("the first head changed with its buffer: got %q, want %q", first, want)
	}
	if long := strings.Repeat("x", keptHead+1); s.keep([]byte(long)) != long || s.last != "" {
		t.Errorf("a long head: want it whole and not remembered, remembered %d bytes", len(s.last))
	}
}

package http1

import (
	"strings"
	"testing"
)

// Eight bytes at a time or one by one: the same.
func TestEightAtATime(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for c := range 256 {
				s := strings.Repeat("a", at) + string([]byte{byte(c)}) + strings.Repeat("\xff", length-at-1)
				if got, want := allText(s), all(s, isText); got != want {
					t.Fatalf("allText(%q) = %v, want %v", s, got, want)
				}
				s = strings.Repeat("a", at) + string([]byte{byte(c)}) + strings.Repeat("-", length-at-1)
				if got, want := allToken(s), all(s, isToken); got != want {
					t.Fatalf("allToken(%q) = %v, want %v", s, got, want)
				}
			}
		}
	}
}

func FuzzEightAtATime(f *testing.F) {
	f.Add("text/html; charset=utf-8")
	f.Add("a\tb\x7fc")
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := allText(s), all(s, isText); got != want {
			t.Errorf("allText(%q) = %v, want %v", s, got, want)
		}
		if got, want := allToken(s), all(s, isToken); got != want {
			t.Errorf("allToken(%q) = %v, want %v", s, got, want)
		}
	})
}

func TestFold(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"", "", true}, {"Host", "host", true}, {"HOST", "Host", true}, {"Host", "Date", false},
		{"Host", "Hosts", false}, {"@ost", "`ost", false}, {"keep-alive", "Keep-Alive", true}, {"[a", "{a", false},
	} {
		if got := fold(c.a, c.b); got != c.same {
			t.Errorf("fold(%q, %q) = %v, want %v", c.a, c.b, got, c.same)
		}
	}
}

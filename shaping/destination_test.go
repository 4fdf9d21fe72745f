package shaping

import (
	"net/netip"
	"strings"
	"testing"
)

func TestDestinationMatches(t *testing.T) {
	type peer struct {
		addr, name string
		port       uint16
	}
	for _, tt := range []struct {
		text string
		yes  []peer
		no   []peer
	}{
		{"*", []peer{{"192.0.2.1", "", 0}, {"2001:db8::1", "a.test", 80}}, nil},
		{"db.internal", []peer{{"198.18.0.1", "db.internal", 5432}, {"198.18.0.1", "db.internal", 0}},
			[]peer{{"198.18.0.2", "b.internal", 5432}, {"198.18.0.2", "x.db.internal", 1}, {"198.18.0.2", "", 5432}}},
		{"DB.Internal.", []peer{{"198.18.0.1", "db.internal", 1}}, nil},
		{"*.example.com", []peer{{"198.18.0.1", "a.example.com", 1}, {"198.18.0.1", "a.b.example.com", 1}},
			[]peer{{"198.18.0.1", "example.com", 1}, {"198.18.0.1", "badexample.com", 1}, {"198.18.0.1", ".example.com", 1}}},
		{"10.0.0.0/8", []peer{{"10.1.2.3", "", 1}, {"::ffff:10.1.2.3", "", 1}, {"10.1.2.3", "a.test", 1}},
			[]peer{{"11.0.0.1", "", 1}, {"2001:db8::10", "", 1}}},
		{"10.1.2.3/8", []peer{{"10.9.9.9", "", 1}}, nil},
		{"192.0.2.7", []peer{{"192.0.2.7", "", 1}}, []peer{{"192.0.2.8", "", 1}}},
		{"2001:db8::/32", []peer{{"2001:db8:1::9", "", 1}}, []peer{{"2001:db9::1", "", 1}, {"10.0.0.1", "", 1}}},
		{":5432", []peer{{"192.0.2.1", "", 5432}, {"2001:db8::1", "a.test", 5432}}, []peer{{"192.0.2.1", "", 5433}, {"192.0.2.1", "", 0}}},
		{":8000-8999", []peer{{"192.0.2.1", "", 8000}, {"192.0.2.1", "", 8999}}, []peer{{"192.0.2.1", "", 7999}, {"192.0.2.1", "", 9000}}},
		{"db.internal:5432", []peer{{"198.18.0.1", "db.internal", 5432}}, []peer{{"198.18.0.1", "db.internal", 5433}, {"198.18.0.2", "x", 5432}}},
		{"*.test:443", []peer{{"198.18.0.1", "a.test", 443}}, []peer{{"198.18.0.1", "a.test", 80}}},
		{"10.0.0.0/8:443", []peer{{"10.0.0.1", "", 443}}, []peer{{"10.0.0.1", "", 80}}},
		{"[2001:db8::1]:443", []peer{{"2001:db8::1", "", 443}}, []peer{{"2001:db8::1", "", 80}, {"2001:db8::2", "", 443}}},
		{"[2001:db8::/32]:443", []peer{{"2001:db8::2", "", 443}}, []peer{{"2001:db9::2", "", 443}}},
		{"[2001:db8::1]", []peer{{"2001:db8::1", "", 443}}, nil},
		{"bücher.example", []peer{{"198.18.0.1", "xn--bcher-kva.example", 443}}, nil},
		{"redis_1:6379", []peer{{"198.18.0.1", "redis_1", 6379}}, nil},
	} {
		d, err := ParseDestination(tt.text)
		if err != nil {
			t.Errorf("ParseDestination(%q): %v", tt.text, err)
			continue
		}
		for _, p := range tt.yes {
			if !d.Matches(netip.MustParseAddr(p.addr), p.port, p.name) {
				t.Errorf("%s does not match %+v, want that it does", tt.text, p)
			}
		}
		for _, p := range tt.no {
			if d.Matches(netip.MustParseAddr(p.addr), p.port, p.name) {
				t.Errorf("%s matches %+v, want that it does not", tt.text, p)
			}
		}
	}
}

func TestParseDestinationRefuses(t *testing.T) {
	for text, hint := range map[string]string{
		"":                   "such as",
		":":                  "a port is a number",
		"db:":                "a port is a number",
		"db:0":               "a port is a number",
		"db:65536":           "a port is a number",
		":9-8":               "the lower one comes first",
		"5432":               "a port alone is written :5432",
		"10.0.0":             "such as",
		"10.0.0.0/33":        "such as",
		"::ffff:10.0.0.0/99": "such as",
		"http://db.internal": "leave the scheme out",
		"db internal":        "such as",
		"a.*.test":           "a star stands alone",
		"**":                 "a star stands alone",
		"*.":                 "a star stands alone",
		"a..b":               "such as",
		"[2001:db8::1":       "such as",
		"[2001:db8::1]443":   "such as",
	} {
		d, err := ParseDestination(text)
		if err == nil {
			t.Errorf("ParseDestination(%q) = %v, want an error", text, d)
			continue
		}
		if p := asProblem(err); !strings.Contains(p.hint, hint) {
			t.Errorf("ParseDestination(%q): hint %q, want one with %q", text, p.hint, hint)
		}
	}
}

// What a destination is written as means the same, and one with ports means no more than
// it does without.
func FuzzParseDestination(f *testing.F) {
	for _, text := range []string{"*", ":1", "db.internal:5432", "*.a.b", "10.0.0.0/8", "[2001:db8::/32]:1-9", "[::]:1", "bücher.de:3", "::1"} {
		f.Add(text, "db.internal", uint16(5432), []byte{10, 1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, text, name string, port uint16, raw []byte) {
		d, err := ParseDestination(text)
		if err != nil {
			return
		}
		again, err := ParseDestination(d.String())
		if err != nil || again != d {
			t.Fatalf("%q is written %q, which reads as %v (%v)", text, d.String(), again, err)
		}
		addr, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		open := d
		open.first, open.last = 0, 0
		if d.Matches(addr, port, name) && !open.Matches(addr, port, name) {
			t.Fatalf("%v has %v %d %q, and without ports has not", d, addr, port, name)
		}
		if d.first == 0 && d.Matches(addr, port, name) != d.Matches(addr, 0, name) {
			t.Fatalf("%v tells ports apart", d)
		}
		if !d.Named() && d.Matches(addr, port, name) != d.Matches(addr, port, "") {
			t.Fatalf("%v tells names apart", d)
		}
	})
}

package config

import "testing"

func TestParseAddr(t *testing.T) {
	for _, tc := range []struct{ in, want, err string }{
		{"8080", "127.0.0.1:8080", ""},
		{":8080", "127.0.0.1:8080", ""},
		{"0", "127.0.0.1:0", ""},
		{"127.0.0.1:0", "127.0.0.1:0", ""},
		{"[::1]:0", "[::1]:0", ""},
		{"0.0.0.0:80", "0.0.0.0:80", ""},
		{"localhost:80", "localhost:80", ""},
		{"", "", `an address such as "127.0.0.1:8080" or ":8080"`},
		{"::1", "", `an address such as "127.0.0.1:8080" or ":8080" (give the port, 0 for a free one)`},
		{"localhost", "", `an address such as "127.0.0.1:8080" or ":8080" (give the port, 0 for a free one)`},
		{":http", "", `an address such as "127.0.0.1:8080" or ":8080" (the port is a number from 0 to 65535)`},
		{":65536", "", `an address such as "127.0.0.1:8080" or ":8080" (the port is a number from 0 to 65535)`},
		{"a b:1", "", `an address such as "127.0.0.1:8080" or ":8080"`},
	} {
		got, p := parseAddr(tc.in)
		if got != tc.want || text(p) != tc.err {
			t.Errorf("parseAddr(%q) = %q, %q, want %q, %q", tc.in, got, text(p), tc.want, tc.err)
		}
	}
}

func TestParseListen(t *testing.T) {
	for _, tc := range []struct {
		kind      ListenKind
		in        string
		want, err string
	}{
		{ListenForward, ":8080", "forward 127.0.0.1:8080", ""},
		{ListenTransparent, "[::]:1", "transparent [::]:1", ""},
		{ListenReverse, "9001=https://API.test:8443/", "reverse 127.0.0.1:9001=https://api.test:8443", ""},
		{ListenTCP, ":0=[::1]:6379", "tcp 127.0.0.1:0=[::1]:6379", ""},
		{ListenForward, ":1=http://a", "", `ADDR (--forward has no upstream of its own; --reverse ADDR=URL has)`},
		{ListenReverse, ":1=a:80", "", `a URL such as "http://127.0.0.1:7001" (begin with http:// or https://)`},
		{ListenReverse, ":1=http://u:p@a", "", `a URL such as "http://127.0.0.1:7001" (only scheme, host and port: the request brings its own path)`},
		{ListenReverse, ":1=http://a:", "", `a URL such as "http://127.0.0.1:7001"`},
		{ListenTCP, ":1=redis", "", `HOST:PORT such as "127.0.0.1:6379"`},
		{ListenTCP, ":1=redis:0", "", `HOST:PORT such as "127.0.0.1:6379"`},
	} {
		l, p := parseListen(tc.kind, tc.in)
		got := l.String()
		if p != nil {
			got = ""
		}
		if got != tc.want || text(p) != tc.err {
			t.Errorf("parseListen(%s, %q) = %q, %q, want %q, %q", tc.kind, tc.in, got, text(p), tc.want, tc.err)
		}
	}
}

// text is what p wants and, in brackets, its hint; "" for none.
func text(p *problem) string {
	switch {
	case p == nil:
		return ""
	case p.hint == "":
		return p.want
	}
	return p.want + " (" + p.hint + ")"
}

func TestInspect(t *testing.T) {
	i := Intercept{Pass: []string{"*.bank.example", "10.0.0.1"}, Only: []string{"*.example", "plain.test", "::1"}}
	for host, want := range map[string]bool{
		"api.bank.example": false, "a.b.bank.example": false, "bank.example": true, "BANK.example.": true,
		"10.0.0.1": false, "plain.test": true, "other.test": false, "[::1]": true, "notbank.example": true,
	} {
		if got := i.Inspect(host); got != want {
			t.Errorf("Inspect(%q) = %v, want %v", host, got, want)
		}
	}
	if none := (&Intercept{}); !none.Inspect("any.test") {
		t.Error("Inspect without patterns = false, want true")
	}
}

func TestParseSizeAndSeed(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "512": 512, "1B": 1, "10KB": 10_000, "1.5KiB": 1536, "64MiB": 64 << 20, "2 GB": 2_000_000_000} {
		if got, p := parseSize(in); p != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", in, got, p, want)
		}
	}
	for _, in := range []string{"", "-1", "1K", "1 mb", "inf", "9999999TiB", "1..2", "MiB"} {
		if got, p := parseSize(in); p == nil {
			t.Errorf("parseSize(%q) = %d, want an error", in, got)
		}
	}
	for in, want := range map[string]uint64{"0": 0, "010": 10, "0xff": 255, "18446744073709551615": 1<<64 - 1} {
		if got, p := parseSeed(in); p != nil || got != want {
			t.Errorf("parseSeed(%q) = %d, %v, want %d", in, got, p, want)
		}
	}
}

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
		{"", "", `address: want an address such as "127.0.0.1:8080" or ":8080", got ""`},
		{"::1", "", `address: want an address such as "127.0.0.1:8080" or ":8080", got "::1" (give the port, 0 for a free one)`},
		{"localhost", "", `address: want an address such as "127.0.0.1:8080" or ":8080", got "localhost" (give the port, 0 for a free one)`},
		{":http", "", `address: want an address such as "127.0.0.1:8080" or ":8080", got ":http" (the port is a number from 0 to 65535)`},
		{":65536", "", `address: want an address such as "127.0.0.1:8080" or ":8080", got ":65536" (the port is a number from 0 to 65535)`},
		{"a b:1", "", `address: want an address such as "127.0.0.1:8080" or ":8080", got "a b:1"`},
	} {
		got, err := ParseAddr(tc.in)
		if got != tc.want || text(err) != tc.err {
			t.Errorf("ParseAddr(%q) = %q, %q, want %q, %q", tc.in, got, text(err), tc.want, tc.err)
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
		{ListenForward, ":1=http://a", "", `forward: want ADDR, got ":1=http://a" (--forward has no upstream of its own; --reverse ADDR=URL has)`},
		{ListenReverse, ":1=a:80", "", `reverse: want a URL such as "http://127.0.0.1:7001", got ":1=a:80" (begin with http:// or https://)`},
		{ListenReverse, ":1=http://u:p@a", "", `reverse: want a URL such as "http://127.0.0.1:7001", got ":1=http://u:p@a" (only scheme, host and port: the request brings its own path)`},
		{ListenReverse, ":1=http://a:", "", `reverse: want a URL such as "http://127.0.0.1:7001", got ":1=http://a:"`},
		{ListenTCP, ":1=redis", "", `tcp: want HOST:PORT such as "127.0.0.1:6379", got ":1=redis"`},
		{ListenTCP, ":1=redis:0", "", `tcp: want HOST:PORT such as "127.0.0.1:6379", got ":1=redis:0"`},
	} {
		l, err := ParseListen(tc.kind, tc.in)
		got := l.String()
		if err != nil {
			got = ""
		}
		if got != tc.want || text(err) != tc.err {
			t.Errorf("ParseListen(%s, %q) = %q, %q, want %q, %q", tc.kind, tc.in, got, text(err), tc.want, tc.err)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
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

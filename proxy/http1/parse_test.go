package http1

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/proxy/wire"
)

// oddRequests are messages at the edge of the grammar. status is what we
// answer: 200 where we accept.
var oddRequests = []struct {
	name, raw string
	status    int
}{
	{"plain", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200},
	{"leading empty line", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 200},
	{"two leading empty lines", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"bare LF after request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
	{"bare LF all over", "GET / HTTP/1.1\nHost: a\n\n", 400},
	{"bare LF as head end", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
	{"bare CR in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400},
	{"bare CR in name", "GET / HTTP/1.1\r\nHost: a\r\nX\r: a\r\n\r\n", 400},
	{"obs-fold", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400},
	{"fold on first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
	{"space before colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
	{"tab before colon", "GET / HTTP/1.1\r\nHost: a\r\nX\t: a\r\n\r\n", 400},
	{"no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400},
	{"empty name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400},
	{"name with paren", "GET / HTTP/1.1\r\nHost: a\r\nX(: x\r\n\r\n", 400},
	{"name not ASCII", "GET / HTTP/1.1\r\nHost: a\r\nX\xff: x\r\n\r\n", 400},
	{"NUL in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400},
	{"DEL in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", 400},
	{"VT in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x0bb\r\n\r\n", 400},
	{"obs-text in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\xffb\r\n\r\n", 200},
	{"empty value", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", 200},
	{"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
	{"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 200},
	{"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
	{"bad Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
	{"Host with slash", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
	{"Host with user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
	{"Host with port", "GET / HTTP/1.1\r\nHost: a:80\r\n\r\n", 200},
	{"Host with bad port", "GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", 400},
	{"Host with huge port", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400},
	{"Host IPv6", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200},
	{"Host IPv6 open", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
	{"Host with an empty label", "GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", 400},
	{"Host with a comma", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400},
	{"Host with an underscore", "GET / HTTP/1.1\r\nHost: a_b\r\n\r\n", 200},
	{"Host with its root", "GET / HTTP/1.1\r\nHost: a.b.\r\n\r\n", 200},
	{"1.0 without Host", "GET / HTTP/1.0\r\n\r\n", 200},
	{"version 1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
	{"version 2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
	{"version 0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505},
	{"no version", "GET /\r\nHost: a\r\n\r\n", 400},
	{"lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
	{"version with more digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
	{"version with plus", "GET / HTTP/1.+\r\nHost: a\r\n\r\n", 400},
	{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"space at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
	{"tab as space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"space in target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"control in target", "GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"relative target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"bad escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"cut escape", "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"bad escape in query", "GET /?%zz HTTP/1.1\r\nHost: a\r\n\r\n", 200},
	{"double slash", "GET //a/b HTTP/1.1\r\nHost: a\r\n\r\n", 200},
	{"method with colon", "G:T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"method of HTTP/2's preface", "PRI / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
	{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200},
	{"asterisk with GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute", "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", 200},
	{"absolute without path", "GET http://b?x HTTP/1.1\r\nHost: a\r\n\r\n", 200},
	{"absolute without host", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute with an empty Host", "GET http://b/x HTTP/1.1\r\nHost:\r\n\r\n", 400},
	{"absolute with two hosts", "GET http://b,c/ HTTP/1.1\r\nHost: b\r\n\r\n", 400},
	{"absolute with user", "GET http://u:p@b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute with bad port", "GET http://b:x/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute with bad scheme", "GET 1http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 200},
	{"CONNECT without Host", "CONNECT a:443 HTTP/1.1\r\n\r\n", 200},
	{"CONNECT without port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT with path", "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT with body", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 400},
	{"length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", 200},
	{"same length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", 400},
	{"same length, written otherwise", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 02\r\n\r\nab", 400},
	{"lengths differ", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", 400},
	{"length list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\nab", 400},
	{"length plus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nab", 400},
	{"length minus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -2\r\n\r\nab", 400},
	{"length hex", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\nab", 400},
	{"length empty", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nab", 400},
	{"length overflow", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\nab", 400},
	{"length and coding", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding and length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400},
	{"chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 200},
	{"chunked in capitals", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", 200},
	{"chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400},
	{"chunked in two fields", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"chunked not last", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400},
	{"gzip first", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
	{"gzip alone", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 501},
	{"identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501},
	{"chunked with parameter", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;x=1\r\n\r\n0\r\n\r\n", 501},
	{"chunked with VT", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400},
	{"coding empty", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 400},
	{"chunked in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na", 200},
	{"two expectations", "POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na", 400},
	{"trailer that frames", "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X, content-length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"trailer", "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n", 200},
	{"large head", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 70<<10) + "\r\n\r\n", 431},
}

func TestRequestsAtTheEdge(t *testing.T) {
	for _, c := range oddRequests {
		t.Run(c.name, func(t *testing.T) {
			var refused error
			s := &Server{
				Handler: answer(wire.Head{Status: 200, Length: 0}),
				OnBad:   func(_ *wire.Conn, err error) { refused = err },
			}
			back := talk(t, s, c.raw)
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(back)), nil)
			if err != nil {
				t.Fatalf("ReadResponse(%q): %v", back, err)
			}
			if resp.StatusCode != c.status {
				t.Errorf("status = %d, want %d; answer %q", resp.StatusCode, c.status, back)
			}
			if (refused != nil) != (c.status != 200) {
				t.Errorf("OnBad got %v with status %d", refused, c.status)
			}
			if body, _ := io.ReadAll(resp.Body); c.status != 200 && strings.Count(string(body), "\n") != 1 {
				t.Errorf("reason = %q, want one line", body)
			}
		})
	}
}

// What net/http refuses must not get past us: a difference would let two
// parsers in a row see different messages.
func TestNeverLaxerThanNetHTTP(t *testing.T) {
	for _, c := range oddRequests {
		if c.status != 200 {
			continue
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.TrimPrefix(c.raw, "\r\n"))))
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		if err != nil {
			t.Errorf("%s: net/http refuses with %v, we accept", c.name, err)
		}
	}
}

func parseOne(raw string) (*wire.Request, requestInfo, error) {
	src := &source{nc: &scripted{in: strings.NewReader(raw)}}
	src.open()
	defer src.free()
	head, lines, err := src.readHead(defaultHeadBytes, nil)
	if err != nil {
		return nil, requestInfo{}, err
	}
	r := &wire.Request{}
	in, err := parseRequest(head, lines, r)
	return r, in, err
}

func TestTargetForms(t *testing.T) {
	for _, c := range []struct {
		line, scheme, host, target string
		absolute                   bool
	}{
		{"GET /a%20b?x=1", "", "field", "/a%20b?x=1", false},
		{"GET HTTP://Up:8/a?b", "http", "Up:8", "/a?b", true},
		{"GET http://up", "http", "up", "/", true},
		{"GET https://[::1]:4?q=/", "https", "[::1]:4", "/?q=/", true},
		{"OPTIONS http://up", "http", "up", "*", true},
		{"OPTIONS *", "", "field", "*", false},
		{"CONNECT up:443", "", "up:443", "up:443", false},
	} {
		r, _, err := parseOne(c.line + " HTTP/1.1\r\nhOST: field\r\n\r\n")
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		if r.Scheme != c.scheme || r.Host != c.host || r.Target != c.target || r.Absolute != c.absolute {
			t.Errorf("%s = %q %q %q absolute %v, want %q %q %q %v", c.line,
				r.Scheme, r.Host, r.Target, r.Absolute, c.scheme, c.host, c.target, c.absolute)
		}
		if len(r.Header) != 1 || r.Header[0].Name != "hOST" {
			t.Errorf("%s: header = %v, want the name as sent", c.line, r.Header)
		}
	}
}

func TestBadBodies(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, body := range map[string]string{
		"no size":              "\r\nabc\r\n0\r\n\r\n",
		"size not hex":         "g\r\n",
		"size signed":          "+1\r\na\r\n0\r\n\r\n",
		"size 0x":              "0x1\r\na\r\n0\r\n\r\n",
		"size overflow":        "8000000000000000\r\n",
		"size beyond all":      "10000000000000\r\n",
		"size of 17 digits":    "00000000000000001\r\na\r\n0\r\n\r\n",
		"data too long":        "1\r\nab\r\n0\r\n\r\n",
		"bare LF after size":   "1\na\r\n0\r\n\r\n",
		"bare LF after data":   "1\r\na\n0\r\n\r\n",
		"bare LF at end":       "1\r\na\r\n0\r\n\n",
		"junk after size":      "1 x\r\na\r\n0\r\n\r\n",
		"control in extension": "1;\x00\r\na\r\n0\r\n\r\n",
		"huge extension":       "1;" + strings.Repeat("x", maxChunkLine) + "\r\na\r\n0\r\n\r\n",
		"extensions for ever":  strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\na\r\n", 20) + "0\r\n\r\n",
		"trailer malformed":    "0\r\nX : a\r\n\r\n",
		"trailer frames":       "0\r\nContent-Length: 1\r\n\r\n",
		"trailer too long":     "0\r\n" + strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 20) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var refused, read error
			s := &Server{OnBad: func(_ *wire.Conn, err error) { refused = err }}
			s.Handler = wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
				_, read = io.ReadAll(r.Body)
			})
			back := talk(t, s, head+body+"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
			if read == nil || refused == nil || back != "" {
				t.Errorf("read gave %v, OnBad %v, the client %q; want two errors and nothing", read, refused, back)
			}
		})
	}
}

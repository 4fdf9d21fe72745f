package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// message is what a client might send: a request, sound or not.
type message struct{ name, raw string }

// hidden is what a smuggler puts where it hopes that one parser sees a body and
// another a request.
const hidden = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"

// Ways to write a value that some parsers take for another than others do.
var (
	oddCodings = []string{
		"chunked", "Chunked", "CHUNKED", " chunked ", "\tchunked", "\x0bchunked", "\x0cchunked", "chunked\x0b", "chunked\x00", "\x00chunked",
		"xchunked", "chunkedx", "chunke", "chunked,", ",chunked", ", chunked", "chunked, ", "chunked,,", "chunked, identity", "identity, chunked",
		"identity", "gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "chunked;q=1", "chunked;", ";chunked", "\"chunked\"", "'chunked'", "[chunked]",
		"chunked\r\n ", "\r\n chunked", "x\r\n chunked", "chun\r\n ked", "chunked\rx", "chunked\nx", "c\u212aunked", "chun\u212aed", "\xa0chunked", "chunked\x85",
		"", " ", "x", "chunked chunked", "trailers", "deflate, chunked", "chunked\t,\tchunked",
	}
	oddLengths = []string{
		"5", "+5", "-5", "0x5", "5.0", "5 ", " 5", "05", "0000000000000000005", "000000000000000000000000000000005", "5,5", "5, 5", "5,6", "5;", "5 5", "5a", "a5",
		"5\x00", "\x005", "5\x0b", "\x0b5", "5\t", "\t5", "", " ", "0", "00", "-0", "+0", "5e0", "5_0", "9223372036854775807", "9223372036854775808", "18446744073709551615",
		"18446744073709551616", "18446744073709551621", "4294967301", "99999999999999999999999", "5\r\n ", "\r\n 5", "\"5\"", "5\r6", "\xb2", "5,", ",5", "NaN", "5\n6",
	}
	oddSizes = []string{
		"5", "05", "00000005", "0000000000000005", "00000000000000005", "000000000000000000000000000000000005", "+5", "-5", "0x5", "5 ", " 5", "5\t", "\t5", "5\x0b", "5\x00",
		"5;", "5;a", "5;a=b", "5 ;a=b", "5; a=b", "5;a=\"b\"", "5;a=\"b\r\n\"", "5;a=\"b", "5;\x00", "5;a\nb", "5;a\rb", "5;\xff", "g", "", "5g", "5 5", "5,5", "5.0", "ffffffff00000005",
		"10000000000000005", "8000000000000005", "7fffffffffffffff", "ffffffffffffffff", "fffffffffffffffb", "5\r", "5_0", "\xb2", "5\n", "\r\n5", "5;a\r",
	}
	oddEnds    = []string{"\n", "\r", "\r\r\n", "\n\r", "\r\n\r", " \r\n", "\t\r\n", "\x00\r\n", "\r\x00\n", "\x0b\n", "\u2028", "\x85", "\r\n "}
	oddMethods = []string{
		"GET", "get", "G", "", " GET", "GET ", "G ET", "G\tET", "GE\x00T", "G(T", "G:T", "G/T", "G\xffT", "PATCH", "PURGE", "M-SEARCH", "GET,POST", "\"GET\"", "GET\x0b", "HEAD", "OPTIONS",
		"TRACE", "DELETE", "$GET", "G@T", "PRI", strings.Repeat("A", 40), strings.Repeat("A", 400),
	}
	oddTargets = []string{
		"/", "//", "//a.test/x", "/..", "/../x", "/.", "/%2e%2e/x", "/%", "/%4", "/%zz", "/%00", "/a?b#c", "/a#b", "/#", "#", "?", "?a", "a", "a/b", "*", "/*", "/\xff", "/\x80x", "/a\x00b", "/a\x01b", "/a\x7fb",
		"/a b", "/a\tb", "/a\x0bb", "/a\"b", "/<a>", "/{a}", "/|", "/\\", "\\", "/a\\b", "/^", "/`", "/[a]", "/;a", "/?%zz", "/?%", "/?a b",
		"http://b.test/x", "http://b.test", "http://b.test?x", "HTTP://B.TEST/x", "https://b.test/x", "http:///x", "http://", "http:/b.test/x", "http:b.test", "://b.test/", "1http://b.test/", "ftp://b.test/",
		"http://u@b.test/", "http://u:p@b.test/", "http://b.test:0/", "http://b.test:/", "http://b.test:99999/", "http://b.test:x/", "http://b.test:80:80/", "http://[::1]/", "http://[::1/", "http://[v1.x]/", "http://b test/", "http://b.test#x", "http://b.test/#x",
		"http://a.test/x", "http://b.test\\@a.test/", "http://b.test%00/", "http://b.test,c.test/", "b.test:80", "b.test", ":80", "/" + strings.Repeat("a", 3000), "/" + strings.Repeat("a", 100_000),
	}
	oddVersions = []string{
		"HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/1.9", "HTTP/0.9", "HTTP/2.0", "HTTP/2", "HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/11", "HTTP/1.10", "HTTP/1.01", "HTTP/01.1", "HTTP/10.1", "http/1.1", "Http/1.1", "HTTP 1.1", "HTTP/1,1",
		"HTTP/+1.1", "HTTP/1.-1", "HTTP/1.1x", "xHTTP/1.1", "HTTP/1.1 ", " HTTP/1.1", "HTTP/1.1\t", "HTTP/1.1\x00", "HTTP/1.1 x", "", "ICAP/1.0", "RTSP/1.0", "HTTPS/1.1", "HTTP//1.1", "HTTP/1.1/", "HTTP/\xb9.1",
	}
	oddHosts = []string{
		"a.test", "", " ", "a.test:80", "a.test:", "a.test:0", "a.test:65535", "a.test:65536", "a.test:x", "a.test:80:80", "a b", "a\tb", "a/b", "a?b", "a#b", "a@b", "u:p@a", "a\\b", "a,b", "a, b", "a;b", "a%00", "a%20b", "a\x00b", "a\xffb", "a\x7fb", "[::1]", "[::1]:80", "[::1",
		"::1", "[x]", "[::1%25eth0]", "[::ffff:1.2.3.4]", "1.2.3.4", "1.2.3", "A.TEST", "a..test", ".a.test", "a.test.", "-a", "a_b", "*", "\"a\"", "(a)", "<a>", "http://a.test", "a.test/x", "xn--a", "\u00fc.test", strings.Repeat("a", 300), "a.test, b.test", "a.test b.test", "a.test\rX", "a!b", "a$b", "a'b", "a*b", "a+b", "a=b", "a~b", "a&b",
	}
	oddFields = []string{
		"X : a", "X\t: a", " X: a", "\tX: a", "X", ": a", "", "X:", "X: ", "X:a", "X::a", "X: a\x00b", "X: a\rb", "X: a\nb", "X: a\x0bb", "X: a\x7fb", "X: a\xffb", "X: a\x01b", "X: \"a", "X\x00: a", "X\x0b: a", "X\xff: a", "X(: a", "X y: a", "X_y: a", "X.y: a", "X@: a", "X[]: a", "X{: a", "X/: a", "X\\: a", "X\": a", "X=: a", "X,: a", "X;: a", "X<: a", "X?: a",
		"X: a\r\n b", "X: a\r\n\tb", "X:\r\n b", "X: a\r\n ", "X: a\r\n\r", "Content-Length : 5", "Content-Length\t: 5", "Content-Length\x0b: 5", "Content-Length\x00: 5", " Content-Length: 5", "Content-Length: 5\r\n 6", "Content_Length: 5", "Content-Length", "Content-Length 5",
		"Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", " Transfer-Encoding: chunked", "Transfer-Encoding\x0b: chunked", "Transfer-Encoding\x00: chunked", "Transfer_Encoding: chunked", "Transfer-Encoding\xff: chunked", "X: a\nTransfer-Encoding: chunked", "X: a\rTransfer-Encoding: chunked", "Transfer-Encoding", "Transfer-Encoding chunked", "Transfer-encoding: chunked", "TRANSFER-ENCODING: chunked",
		"Host : b.test", " Host: b.test", "Host\x0b: b.test", "X: a\nHost: b.test", "Connection: close", "Connection: keep-alive", "Connection: close, Content-Length", "Connection: Host", "Connection: Transfer-Encoding", "Connection: \x00", "Connection: upgrade\r\nUpgrade: x", "Upgrade: h2c", "Upgrade: websocket", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
		"Expect: 100-continue", "Expect: 100-continue\r\nExpect: x", "Expect: 200-ok", "Expect: x", "Expect: 100-continue, x", "TE: trailers", "Trailer: Content-Length", "Keep-Alive: timeout=5", "Proxy-Connection: close", "X: " + strings.Repeat("a", 7000), "X: " + strings.Repeat("a", 200_000), strings.Repeat("X", 300) + ": a", strings.Repeat("X: a\r\n", 90) + "X: a", strings.Repeat("X: a\r\n", 20_000) + "X: a",
	}
	oddTrailers = []string{
		"X: a", "X : a", " X: a", "X", ": a", "X: a\x00", "X: a\rb", "X: a\r\n b", "Content-Length: 5", "Transfer-Encoding: chunked", "Host: b.test", "X: " + strings.Repeat("a", 20_000), "X: a\nY: b", "X:a\r", "Connection: close",
	}
)

// knownMessages are the attacks and oddities that have names.
func knownMessages() []message {
	var all []message
	add := func(name, raw string) { all = append(all, message{name, raw}) }
	const post, host = "POST / HTTP/1.1\r\n", "Host: a.test\r\n"
	for _, v := range oddCodings {
		te := "Transfer-Encoding: " + v + "\r\n"
		add(fmt.Sprintf("coding %q", v), post+host+te+"\r\n5\r\nhello\r\n0\r\n\r\n")
		add(fmt.Sprintf("CL.TE %q", v), post+host+fmt.Sprintf("Content-Length: %d\r\n", 5+len(hidden))+te+"\r\n0\r\n\r\n"+hidden)
		add(fmt.Sprintf("TE.CL %q", v), post+host+te+"Content-Length: 4\r\n\r\n"+fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden))
		add(fmt.Sprintf("TE.TE after %q", v), post+host+"Transfer-Encoding: chunked\r\n"+te+"\r\n0\r\n\r\n"+hidden)
		add(fmt.Sprintf("TE.TE before %q", v), post+host+te+"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden)
		add(fmt.Sprintf("1.0 with coding %q", v), "POST / HTTP/1.0\r\n"+host+te+"\r\n5\r\nhello\r\n0\r\n\r\n"+hidden)
		add(fmt.Sprintf("GET with coding %q", v), "GET / HTTP/1.1\r\n"+host+te+"\r\n0\r\n\r\n"+hidden)
	}
	for _, v := range oddLengths {
		cl := "Content-Length: " + v + "\r\n"
		add(fmt.Sprintf("length %q", v), post+host+cl+"\r\nhello")
		add(fmt.Sprintf("lengths 5, %q", v), post+host+"Content-Length: 5\r\n"+cl+"\r\nhello")
		add(fmt.Sprintf("lengths %q, 5", v), post+host+cl+"Content-Length: 5\r\n\r\nhello")
		add(fmt.Sprintf("CL.0 %q", v), "GET / HTTP/1.1\r\n"+host+cl+"\r\n"+hidden)
		add(fmt.Sprintf("chunked and length %q", v), post+host+"Transfer-Encoding: chunked\r\n"+cl+"\r\n5\r\nhello\r\n0\r\n\r\n")
		add(fmt.Sprintf("1.0 with length %q", v), "POST / HTTP/1.0\r\n"+host+cl+"\r\nhello")
	}
	chunked := post + host + "Transfer-Encoding: chunked\r\n\r\n"
	for _, v := range oddSizes {
		add(fmt.Sprintf("chunk size %q", v), chunked+v+"\r\nhello\r\n0\r\n\r\n")
		add(fmt.Sprintf("second chunk size %q", v), chunked+"3\r\nabc\r\n"+v+"\r\nhello\r\n0\r\n\r\n")
		last := strings.ReplaceAll(v, "5", "0")
		add(fmt.Sprintf("last chunk size %q", last), chunked+"5\r\nhello\r\n"+last+"\r\n\r\n"+hidden)
	}
	for _, v := range oddEnds {
		for place, raw := range map[string]string{
			"request line": "GET / HTTP/1.1^" + host + "\r\n", "field": "GET / HTTP/1.1\r\nHost: a.test^\r\n", "fields": "GET / HTTP/1.1\r\nX: a^" + host + "\r\n", "head": "GET / HTTP/1.1\r\nHost: a.test\r\n^",
			"everywhere": "GET / HTTP/1.1^Host: a.test^^", "before": "^GET / HTTP/1.1\r\n" + host + "\r\n", "before, twice": "^^GET / HTTP/1.1\r\n" + host + "\r\n",
			"chunk size": chunked + "5^hello\r\n0\r\n\r\n", "chunk": chunked + "5\r\nhello^0\r\n\r\n", "last chunk": chunked + "5\r\nhello\r\n0^\r\n", "chunked body": chunked + "5\r\nhello\r\n0\r\n^",
			"trailer": chunked + "5\r\nhello\r\n0\r\nX: a^\r\n", "length": post + host + "Content-Length: 5^\r\nhello", "coding": post + host + "Transfer-Encoding: chunked^\r\n5\r\nhello\r\n0\r\n\r\n",
			"smuggled in a field": "GET / HTTP/1.1\r\n" + host + "X: a^" + "Content-Length: " + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden,
		} {
			add(fmt.Sprintf("line end %q of %s", v, place), strings.ReplaceAll(raw, "^", v))
		}
	}
	for _, v := range oddMethods {
		add(fmt.Sprintf("method %.50q", v), v+" / HTTP/1.1\r\n"+host+"\r\n")
		add(fmt.Sprintf("method %.50q with a body", v), v+" / HTTP/1.1\r\n"+host+"Content-Length: 5\r\n\r\nhello")
	}
	for _, v := range oddTargets {
		add(fmt.Sprintf("target %.50q", v), "GET "+v+" HTTP/1.1\r\n"+host+"\r\n")
		add(fmt.Sprintf("target %.50q without Host", v), "GET "+v+" HTTP/1.0\r\n\r\n")
		add(fmt.Sprintf("OPTIONS of %.50q", v), "OPTIONS "+v+" HTTP/1.1\r\n"+host+"\r\n")
	}
	for _, v := range oddVersions {
		add(fmt.Sprintf("version %q", v), "GET / "+v+"\r\n"+host+"\r\n")
		add(fmt.Sprintf("version %q with chunks", v), "POST / "+v+"\r\n"+host+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
	}
	for _, v := range oddHosts {
		add(fmt.Sprintf("Host %.50q", v), "GET / HTTP/1.1\r\nHost: "+v+"\r\n\r\n")
		add(fmt.Sprintf("Host a.test and %.50q", v), "GET / HTTP/1.1\r\n"+host+"Host: "+v+"\r\n\r\n")
		add(fmt.Sprintf("absolute target and Host %.50q", v), "GET http://a.test/x HTTP/1.1\r\nHost: "+v+"\r\n\r\n")
	}
	for _, v := range oddFields {
		add(fmt.Sprintf("field %.50q", v), "GET / HTTP/1.1\r\n"+host+v+"\r\n\r\n")
		add(fmt.Sprintf("first field %.50q", v), "GET / HTTP/1.1\r\n"+v+"\r\n"+host+"\r\n")
		add(fmt.Sprintf("field %.50q beside a length", v), post+host+v+"\r\nContent-Length: 5\r\n\r\nhello")
		add(fmt.Sprintf("field %.50q beside chunks", v), post+host+"Transfer-Encoding: chunked\r\n"+v+"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
		add(fmt.Sprintf("field %.50q and something hidden", v), "GET / HTTP/1.1\r\n"+host+v+"\r\n\r\n"+hidden)
	}
	for _, v := range oddTrailers {
		add(fmt.Sprintf("trailer %.50q", v), chunked+"5\r\nhello\r\n0\r\n"+v+"\r\n\r\n")
		add(fmt.Sprintf("trailer %.50q and something hidden", v), chunked+"0\r\n"+v+"\r\n\r\n"+hidden)
	}
	for name, raw := range map[string]string{
		"no Host": "GET / HTTP/1.1\r\n\r\n", "1.0 without Host": "GET / HTTP/1.0\r\n\r\n", "0.9": "GET /\r\n", "pipelined": "GET /1 HTTP/1.1\r\n" + host + "\r\nGET /2 HTTP/1.1\r\n" + host + "\r\n",
		"1.0, kept alive": "GET / HTTP/1.0\r\nConnection: keep-alive\r\n" + host + "\r\n" + hidden, "body beyond its length": post + host + "Content-Length: 3\r\n\r\nhello", "body without a length": post + host + "\r\nhello",
		"empty line before": "\r\nGET / HTTP/1.1\r\n" + host + "\r\n", "DELETE with a body in 1.0": "DELETE / HTTP/1.0\r\n" + host + "Content-Length: 5\r\n\r\nhello",
		"WebSocket without a key": "GET / HTTP/1.1\r\n" + host + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "more than a hundred fields": "GET / HTTP/1.1\r\n" + host + strings.Repeat("X: a\r\n", 110) + "\r\n",
		"GET with a body": "GET / HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nhello", "chunk too long": chunked + "3\r\nhello\r\n0\r\n\r\n", "chunk too short": chunked + "7\r\nhello\r\n0\r\n\r\n", "no last chunk": chunked + "5\r\nhello\r\n",
		"many chunks": chunked + strings.Repeat("1\r\na\r\n", 5000) + "0\r\n\r\n", "extensions for ever": chunked + strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\na\r\n", 100) + "0\r\n\r\n", "trailers for ever": chunked + "0\r\n" + strings.Repeat("X: a\r\n", 20_000) + "\r\n",
		"h2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "TLS": "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "PROXY protocol": "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nGET / HTTP/1.1\r\n" + host + "\r\n",
		"CONNECT": "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", "CONNECT with a length": "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nContent-Length: 5\r\n\r\nhello", "CONNECT to a path": "CONNECT / HTTP/1.1\r\n" + host + "\r\n",
		"length after coding, folded": post + host + "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + hidden,
	} {
		add(name, raw)
	}
	// Map order must not change what comes after.
	slices.SortFunc(all, func(a, b message) int { return strings.Compare(a.name+a.raw, b.name+b.raw) })
	return all
}

// madeMessages are n more, each a sound request with one to three changes; the
// same seed makes the same ones.
func madeMessages(n int, seed uint64) []message {
	rng := rand.New(rand.NewPCG(seed, 0))
	pick := func(of []string) string { return of[rng.IntN(len(of))] }
	odd := []string{"\x00", "\t", " ", "\r", "\n", "\r\n", "\x0b", "\x0c", "\x7f", "\x80", "\xff", ":", ",", ";", "\"", "\\", "#", "%", "0", "5", "a", "\x1b"}
	var all []message
	for i := range n {
		line := []string{"POST", "/x?y=z", "HTTP/1.1"}
		fields := []string{"Host: a.test", "X-A: b", "Accept: */*"}
		body := ""
		switch rng.IntN(3) {
		case 0:
			line[0] = "GET"
		case 1:
			fields, body = append(fields, "Content-Length: 5"), "hello"
		case 2:
			fields, body = append(fields, "Transfer-Encoding: chunked"), "3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX-T: a\r\n\r\n"
		}
		rng.Shuffle(len(fields), func(a, b int) { fields[a], fields[b] = fields[b], fields[a] })
		for range 1 + rng.IntN(3) {
			at := rng.IntN(len(fields))
			switch rng.IntN(12) {
			case 0:
				line[0] = pick(oddMethods)
			case 1:
				line[1] = pick(oddTargets)
			case 2:
				line[2] = pick(oddVersions)
			case 3:
				fields = slices.Insert(fields, at, pick(oddFields))
			case 4:
				fields = slices.Insert(fields, at, "Content-Length: "+pick(oddLengths))
			case 5:
				fields = slices.Insert(fields, at, "Transfer-Encoding: "+pick(oddCodings))
			case 6:
				fields[at] = "Host: " + pick(oddHosts)
			case 7:
				fields = slices.Insert(fields, at, fields[rng.IntN(len(fields))])
			case 8:
				fields[at] = strings.Replace(fields[at], ":", pick([]string{" :", "\t:", "", "::", ";", ":\t", ": ", ":\r\n ", "\x00:"}), 1)
			case 9:
				body = strings.Replace(body, "3;a=b", pick(oddSizes), 1)
			case 10:
				body = strings.Replace(body, "X-T: a", pick(oddTrailers), 1)
			case 11:
				body += hidden
			}
		}
		raw := strings.Join(line, " ") + "\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n" + body
		for range rng.IntN(3) { // and changes that know nothing of the grammar
			at := rng.IntN(min(len(raw), 2000))
			switch rng.IntN(4) {
			case 0:
				raw = raw[:at] + pick(odd) + raw[at:]
			case 1:
				raw = raw[:at] + pick(odd) + raw[at+1:]
			case 2:
				raw = raw[:at] + raw[at+1:]
			case 3:
				if i := strings.Index(raw[at:], "\r\n"); i >= 0 {
					raw = raw[:at+i] + pick(oddEnds) + raw[at+i+2:]
				}
			}
		}
		all = append(all, message{fmt.Sprintf("made %d", i), raw})
	}
	return all
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// badInput is what a broken or hostile client may send. HOST is the upstream's address.
var badInput = []struct {
	name, send string
	statuses   []int // 0 for a connection that is closed without an answer
	forward    bool  // only there
	tunnel     bool  // inside a CONNECT
}{
	{name: "bare LF", send: "GET / HTTP/1.1\nHost: HOST\n\n", statuses: []int{400}},
	{name: "bare LF in the fields", send: "GET / HTTP/1.1\r\nHost: HOST\nX: y\r\n\r\n", statuses: []int{400}},
	{name: "bare CR", send: "GET / HTTP/1.1\r\nHost: HOST\r\nX: a\rb\r\n\r\n", statuses: []int{400}},
	{name: "NUL in a value", send: "GET / HTTP/1.1\r\nHost: HOST\r\nX: a\x00b\r\n\r\n", statuses: []int{400}},
	{name: "NUL in a name", send: "GET / HTTP/1.1\r\nHost: HOST\r\nX\x00: b\r\n\r\n", statuses: []int{400}},
	{name: "NUL in the target", send: "GET /\x00 HTTP/1.1\r\nHost: HOST\r\n\r\n", statuses: []int{400}},
	{name: "space in the target", send: "GET /a b HTTP/1.1\r\nHost: HOST\r\n\r\n", statuses: []int{400}},
	{name: "space before the colon", send: "GET / HTTP/1.1\r\nHost: HOST\r\nX : y\r\n\r\n", statuses: []int{400}},
	{name: "no colon", send: "GET / HTTP/1.1\r\nHost: HOST\r\nnonsense\r\n\r\n", statuses: []int{400}},
	{name: "empty name", send: "GET / HTTP/1.1\r\nHost: HOST\r\n: y\r\n\r\n", statuses: []int{400}},
	{name: "folded field", send: "GET / HTTP/1.1\r\nHost: HOST\r\nX: a\r\n b\r\n\r\n", statuses: []int{400}},
	{name: "space before the first field", send: "GET / HTTP/1.1\r\n Host: HOST\r\n\r\n", statuses: []int{400}},
	{name: "no Host", send: "GET / HTTP/1.1\r\n\r\n", statuses: []int{400}},
	{name: "two Hosts", send: "GET / HTTP/1.1\r\nHost: HOST\r\nHost: other.test\r\n\r\n", statuses: []int{400}},
	{name: "length and chunks", send: "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n", statuses: []int{400}},
	{name: "two lengths", send: "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", statuses: []int{400}},
	{name: "a list of lengths", send: "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5, 6\r\n\r\nhello!", statuses: []int{400}},
	{name: "negative length", send: "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: -1\r\n\r\n", statuses: []int{400}},
	{name: "length with a sign", send: "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: +5\r\n\r\nhello", statuses: []int{400}},
	{name: "length beyond all", send: "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 99999999999999999999999\r\n\r\n", statuses: []int{400}},
	{name: "unknown coding", send: "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", statuses: []int{400, 501}},
	{name: "chunked not last", send: "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", statuses: []int{400, 501}},
	{name: "chunked in HTTP/1.0", send: "POST / HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", statuses: []int{400}},
	{name: "chunk size of letters", send: "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n", statuses: []int{400, 0}},
	{name: "chunk size beyond all", send: "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello\r\n0\r\n\r\n", statuses: []int{400, 0}},
	{name: "chunk longer than said", send: "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", statuses: []int{400, 0}},
	{name: "chunk line of a bare LF", send: "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", statuses: []int{400, 0}},
	{name: "huge field", send: "GET / HTTP/1.1\r\nHost: HOST\r\nX: " + strings.Repeat("a", 200_000) + "\r\n\r\n", statuses: []int{431}},
	{name: "huge target", send: "GET /" + strings.Repeat("a", 200_000) + " HTTP/1.1\r\nHost: HOST\r\n\r\n", statuses: []int{431, 414}},
	{name: "many fields", send: "GET / HTTP/1.1\r\nHost: HOST\r\n" + strings.Repeat("X: y\r\n", 30_000) + "\r\n", statuses: []int{431}},
	{name: "HTTP/2.0 in the line", send: "GET / HTTP/2.0\r\nHost: HOST\r\n\r\n", statuses: []int{505, 400}},
	{name: "HTTP/9.9", send: "GET / HTTP/9.9\r\nHost: HOST\r\n\r\n", statuses: []int{505}},
	{name: "no version", send: "GET /\r\n\r\n", statuses: []int{400, 505}},
	{name: "lower-case version", send: "GET / http/1.1\r\nHost: HOST\r\n\r\n", statuses: []int{400, 505}},
	{name: "odd method", send: "G@T / HTTP/1.1\r\nHost: HOST\r\n\r\n", statuses: []int{400, 0}},
	{name: "noise", send: "\x01\x02\x03\x04\xff\xfe\r\n\r\n", statuses: []int{0, 400}},
	{name: "half a head", send: "GET / HTTP/1.1\r\nHost: HO", statuses: []int{0, 400}},
	{name: "nothing", send: "", statuses: []int{0}},
	{name: "broken TLS record", send: "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", statuses: []int{0}},
	{name: "TLS record too long", send: "\x16\x03\x01\xff\xff" + strings.Repeat("\x01", 100), statuses: []int{0}},
	{name: "TLS alert first", send: "\x15\x03\x01\x00\x02\x02\x28", statuses: []int{0, 400}},
	{name: "broken h2 preface", send: "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", statuses: []int{400, 505, 0}},
	{name: "h2 preface, then noise", send: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff", statuses: []int{0}},
	{name: "h2 frame too long", send: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x01", statuses: []int{0}},
	{name: "CONNECT without a port", forward: true, send: "CONNECT nowhere.invalid HTTP/1.1\r\nHost: nowhere.invalid\r\n\r\n", statuses: []int{200, 400, 502}},
	{name: "CONNECT to nonsense", forward: true, send: "CONNECT : HTTP/1.1\r\nHost: :\r\n\r\n", statuses: []int{400, 502}},
	{name: "absolute form without a host", forward: true, send: "GET http:/// HTTP/1.1\r\nHost: x\r\n\r\n", statuses: []int{400}},
	{name: "absolute form of another scheme", forward: true, send: "GET gopher://x/ HTTP/1.1\r\nHost: x\r\n\r\n", statuses: []int{400, 501, 502}},
	{name: "not a proxy request", forward: true, send: "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n", statuses: []int{400}},
	{name: "broken TLS in a tunnel", forward: true, tunnel: true, send: "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", statuses: []int{0}},
	{name: "malformed HTTP in a tunnel", forward: true, tunnel: true, send: "GET / HTTP/1.1\r\nHost : x\r\n\r\n", statuses: []int{400}},
}

// testBadInput sends what no client should to each door. Each is refused or
// closed, the upstream never hears of it, and the ledger knows of every connection.
func (s *stage) testBadInput(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/good" {
			// The head of a request whose body turns out broken may have come before that was known.
			if _, err := io.ReadAll(r.Body); err == nil {
				t.Errorf("the upstream got %s %s whole", r.Method, r.URL)
			}
		}
		io.WriteString(w, "good\n")
	}))
	defer up.Close()
	a := s.start(t, "proxy", "--forward", "127.0.0.1:0", "--reverse", "127.0.0.1:0="+up.URL, "--admin", "off")
	host := strings.TrimPrefix(up.URL, "http://")
	forward := strings.TrimPrefix(a.address(t, "forward", ""), "http://")
	reverse := strings.TrimPrefix(a.address(t, "reverse", ""), "http://")
	dialled := 0
	ask := func(t *testing.T, to, send string, tunnel bool) int {
		t.Helper()
		dialled++
		if tunnel {
			send = "CONNECT " + host + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n" + send
		}
		status, err := sendRaw(to, send, tunnel)
		if err != nil {
			t.Error(err)
		}
		return status
	}
	for _, c := range badInput {
		for _, to := range []string{forward, reverse} {
			if to == reverse && c.forward {
				continue
			}
			send := strings.ReplaceAll(c.send, "HOST", host)
			if to == forward && !c.forward { // as a proxy request, where it is one at all
				send = strings.Replace(send, " / HTTP", " http://"+host+"/ HTTP", 1)
			}
			got := ask(t, to, send, c.tunnel)
			if !slices.Contains(c.statuses, got) {
				t.Errorf("%s to %s: status %d, want one of %v (0 is a closed connection)", c.name, doorName(to == forward), got, c.statuses)
			}
		}
	}
	small := s.start(t, "proxy", "--reverse", "127.0.0.1:0="+up.URL, "--admin", "off", "--set", "limits.head_bytes=2KiB")
	if got, err := sendRaw(strings.TrimPrefix(small.address(t, "reverse", ""), "http://"),
		"GET /good HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("a", 5000)+"\r\nConnection: close\r\n\r\n", false); got != 431 {
		t.Errorf("5000 bytes of head under limits.head_bytes=2KiB: status %d, %v, want 431", got, err)
	}
	small.stop(t)
	// It goes on serving.
	if got := ask(t, reverse, "GET /good HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false); got != 200 {
		t.Errorf("a good request afterwards: status %d, want 200", got)
	}
	if code := a.stop(t); code != 0 {
		t.Errorf("exit %d, want 0:\n%.3000s", code, a.stderr.String())
	}
	if strings.Contains(a.stderr.String(), "panic") {
		t.Errorf("a panic:\n%.5000s", a.stderr.String())
	}
	n := a.report(t).Ledger.Connections
	if n.Opened != dialled || n.Open != 0 || n.Captured+n.Passed+n.Refused+n.Dropped != dialled {
		t.Errorf("ledger: %+v, want all %d connections accounted for", n, dialled)
	}
	t.Logf("%d connections: %+v", dialled, n)
}

// sendRaw sends bytes, ends its side, and returns the status of the answer; 0 for none.
func sendRaw(to, send string, tunnel bool) (int, error) {
	c, err := net.Dial("tcp", to)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	io.WriteString(c, send) // may be refused before it is all sent
	c.(*net.TCPConn).CloseWrite()
	r := bufio.NewReader(c)
	status, err := statusLine(r)
	if tunnel && err == nil && status == 200 {
		if _, err = r.ReadString('\n'); err == nil { // the head's end: it has no fields
			status, err = statusLine(r)
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return status, fmt.Errorf("%s: neither an answer nor an end within 10 s", text([]byte(send)))
	}
	if _, err := io.Copy(io.Discard, r); errors.Is(err, os.ErrDeadlineExceeded) {
		return status, fmt.Errorf("%s: answered %d and still open after 10 s", text([]byte(send)), status)
	}
	return status, nil
}

func statusLine(r *bufio.Reader) (int, error) {
	line, err := r.ReadString('\n')
	f := strings.Fields(line)
	if len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/1.") {
		return 0, err
	}
	n, _ := strconv.Atoi(f[1])
	return n, err
}

func doorName(forward bool) string {
	if forward {
		return "forward"
	}
	return "reverse"
}

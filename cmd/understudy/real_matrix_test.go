package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
)

// call is one request of the matrix, to be made by every client through every door.
type call struct {
	host, method, path string
	query              string
	body               string
	header             []string
	status             int
	cookies            bool // only where the recording keeps secrets
	shows              string
}

func (c *call) expect() bool {
	for _, f := range c.header {
		if strings.HasPrefix(f, "Expect:") {
			return true
		}
	}
	return false
}

// calls are what a proxy or a recording gets wrong.
var calls = []call{
	{host: "nginx.test", path: "/page.html", status: 200},
	{host: "nginx.test", path: "/page.html", query: "gzip", header: []string{"Accept-Encoding: gzip"}, status: 200},
	{host: "nginx.test", method: "HEAD", path: "/page.html", query: "head", status: 200},
	{host: "nginx.test", path: "/big.bin", query: "range", header: []string{"Range: bytes=100-199"}, status: 206},
	{host: "nginx.test", path: "/big.bin", query: "ranges", header: []string{"Range: bytes=0-9,20-29"}, status: 206},
	{host: "nginx.test", path: "/big.bin", query: "beyond", header: []string{"Range: bytes=99999999-"}, status: 416},
	{host: "nginx.test", path: "/page.html", query: "since", header: []string{"If-Modified-Since: Fri, 02 Jan 2026 03:04:05 GMT"}, status: 304},
	{host: "nginx.test", path: "/style.css", query: "tag", header: []string{`If-None-Match: "695735a5-640"`}, status: 304},
	{host: "nginx.test", path: "/big.bin", status: 200},
	{host: "nginx.test", path: "/empty.txt", status: 200},
	{host: "nginx.test", path: "/sub", status: 301},
	{host: "nginx.test", path: "/away", status: 302},
	{host: "nginx.test", path: "/none", status: 204},
	{host: "nginx.test", path: "/nobody%20here", query: "a=%2F&b=c+d&b=e", status: 404},
	{host: "nginx.test", path: "/repeat", status: 200, shows: "two"},
	{host: "nginx.test", method: "POST", path: "/page.html", body: "x=1", header: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 405},

	{host: "python.test", path: "/plain", query: "q=1&q=2", status: 200},
	{host: "python.test", path: "/old", status: 200},
	{host: "python.test", path: "/reason", status: 299},
	{host: "python.test", path: "/noreason", status: 200},
	{host: "python.test", path: "/repeat", status: 200, shows: "three"},
	{host: "python.test", path: "/trailers", status: 200},
	{host: "python.test", path: "/gone", status: 410},
	{host: "python.test", path: "/cookies", status: 200, cookies: true, shows: "sid=one"},
	{host: "python.test", method: "HEAD", path: "/plain", query: "head", status: 200},
	{host: "python.test", method: "DELETE", path: "/thing/1", status: 200},
	{host: "python.test", method: "POST", path: "/make", body: `{"n": 1.50, "b": [1, 2]}`, header: []string{"Content-Type: application/json"}, status: 201},
	{host: "python.test", method: "PUT", path: "/make", body: "@100000", header: []string{"Content-Type: application/octet-stream"}, status: 201},
	{host: "python.test", method: "POST", path: "/make", query: "expect", body: "@2000", header: []string{"Content-Type: text/plain", "Expect: 100-continue"}, status: 201},

	{host: "node.test", path: "/sse", query: "n=6&gap=8", status: 200},
	{host: "node.test", path: "/chunked", status: 200},
	{host: "node.test", path: "/trailers", status: 200},
	{host: "node.test", path: "/hints", status: 200, shows: "late.css"},
	{host: "node.test", path: "/repeat", status: 200, shows: "three"},
	{host: "node.test", path: "/reason", status: 202},
	{host: "node.test", method: "POST", path: "/echo", body: "@300000", header: []string{"Content-Type: application/octet-stream"}, status: 200},
	{host: "node.test", method: "POST", path: "/echo", query: "small", body: "a=1&b=2", header: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 200},
	{host: "node.test", path: "/missing", status: 404},

	{host: "httpbin.test", path: "/get", query: "x=1", status: 200},
	{host: "httpbin.test", path: "/uuid", status: 200},
	{host: "httpbin.test", path: "/gzip", header: []string{"Accept-Encoding: gzip"}, status: 200},
	{host: "httpbin.test", path: "/deflate", header: []string{"Accept-Encoding: deflate"}, status: 200},
	{host: "httpbin.test", path: "/encoding/utf8", status: 200},
	{host: "httpbin.test", path: "/image/png", status: 200},
	{host: "httpbin.test", path: "/range/4096", header: []string{"Range: bytes=10-99"}, status: 206},
	{host: "httpbin.test", path: "/bytes/5000", status: 200},
	{host: "httpbin.test", path: "/stream-bytes/20000", query: "chunk_size=1000", status: 200},
	{host: "httpbin.test", path: "/stream/5", status: 200},
	{host: "httpbin.test", path: "/drip", query: "duration=0.05&numbytes=5&delay=0.02", status: 200},
	{host: "httpbin.test", path: "/sse", query: "count=4&duration=40ms&delay=5ms", status: 200},
	{host: "httpbin.test", path: "/status/204", status: 204},
	{host: "httpbin.test", path: "/status/304", status: 304},
	{host: "httpbin.test", path: "/status/418", status: 418},
	{host: "httpbin.test", path: "/status/500", status: 500},
	{host: "httpbin.test", path: "/redirect/3", status: 302},
	{host: "httpbin.test", path: "/etag/abc", header: []string{`If-None-Match: "abc"`}, status: 304},
	{host: "httpbin.test", path: "/trailers", query: "x-one=1", status: 200},
	{host: "httpbin.test", path: "/response-headers", query: "X-A=1&X-A=2&X-B=3", status: 200},
	{host: "httpbin.test", path: "/cookies/set", query: "a=1&b=2", status: 302, cookies: true, shows: "a=1"},
	{host: "httpbin.test", method: "POST", path: "/anything", body: `{"a": "b"}`, header: []string{"Content-Type: application/json", "X-Custom: yes"}, status: 200},
	{host: "httpbin.test", method: "PATCH", path: "/patch", body: "raw text", header: []string{"Content-Type: text/plain"}, status: 200},
}

// door is a way in: through the forward proxy or the reverse one.
type door struct {
	forward bool
	scheme  string
}

func (d door) String() string {
	if d.forward {
		return "forward " + d.scheme
	}
	return "reverse " + d.scheme
}

// asks is the whole plan of a client: every call through every door.
func (c *client) asks(t *testing.T, a *act) []ask {
	var all []ask
	for _, d := range []door{{true, "http"}, {true, "https"}, {false, "http"}, {false, "https"}} {
		for i := range calls {
			call := calls[i]
			if call.cookies && !c.whole || c.cannot != nil && c.cannot(d, &call) {
				continue
			}
			target := call.path
			if call.query != "" {
				target += "?" + call.query
			}
			k := ask{method: call.method, body: call.body, header: call.header, status: call.status}
			if c.cannotShow == nil || !c.cannotShow(&call) {
				k.shows = call.shows
			}
			if k.method == "" {
				k.method = "GET"
			}
			k.name = fmt.Sprintf("%s %s %s%s", d, k.method, call.host, target)
			origin := d.scheme + "://" + call.host
			if d.forward {
				k.url, k.proxy = origin+target, a.address(t, "forward", "")
			} else {
				// The listener's certificate is for the name that is asked for.
				_, port, _ := strings.Cut(strings.TrimPrefix(a.address(t, "reverse", origin), "http://"), ":")
				k.url = fmt.Sprintf("%s://localhost:%s%s", d.scheme, port, target)
			}
			all = append(all, k)
		}
	}
	return all
}

// doors are the listeners of the matrix.
func doors() []string {
	args := []string{"--forward", "127.0.0.1:0", "--admin", "off", "--log-level", "warn"}
	for _, host := range upstreamNames {
		args = append(args, "--reverse", "127.0.0.1:0=http://"+host, "--reverse", "127.0.0.1:0=https://"+host)
	}
	return args
}

// testMatrix records every call of every client through every door from servers
// that nobody here wrote, stops the servers, and lets each client see a replay. What it
// sees must be equal, byte for byte.
func (s *stage) testMatrix(t *testing.T) {
	tr := s.upstreams(t)
	dir := t.TempDir()
	programs := make([]string, len(clients))
	recorded := make([][]string, len(clients))
	t.Run("record", func(t *testing.T) {
		for i := range clients {
			t.Run(clients[i].name, func(t *testing.T) {
				t.Parallel()
				own := filepath.Join(dir, fmt.Sprint(i))
				if err := os.Mkdir(own, 0o700); err != nil {
					t.Fatal(err)
				}
				programs[i] = clients[i].ready(s, t, own)
				recorded[i] = s.record(t, &clients[i], programs[i], filepath.Join(own, "cassette"), tr)
			})
		}
	})
	tr.stop()
	t.Run("replay", func(t *testing.T) {
		for i := range clients {
			t.Run(clients[i].name, func(t *testing.T) {
				t.Parallel()
				if recorded[i] == nil {
					t.Skip("not recorded: see above")
				}
				s.replay(t, &clients[i], programs[i], filepath.Join(dir, fmt.Sprint(i), "cassette"), recorded[i])
			})
		}
	})
}

// record records all that a client asks for, and returns what it saw.
func (s *stage) record(t *testing.T, c *client, program, dir string, tr *troupe) []string {
	args := append([]string{"record", "-o", dir, "--set", "upstream.connect_to=" + tr.connectTo(), "--set", "upstream.ca_file=" + s.identity.ca}, doors()...)
	if c.whole {
		args = append(args, "--set", "redaction={off: true}")
	}
	a := s.start(t, args...)
	asks := c.asks(t, a)
	views := c.run(s, t, program, asks)
	for i, k := range asks {
		if got := statusOf(views[i]); got != k.status {
			t.Errorf("%s: status %d, want %d:\n%s", k.name, got, k.status, views[i])
		}
		if !strings.Contains(views[i], k.shows) {
			t.Errorf("%s: no %q in what the client saw:\n%s", k.name, k.shows, views[i])
		}
	}
	if code := a.stop(t); code != 0 {
		t.Errorf("record: exit %d, want 0:\n%s", code, a.stderr.String())
	}
	r := a.report(t).Ledger
	if r.Recording.Recorded != len(asks) || r.Exchanges.Outcomes["complete"] != len(asks) {
		t.Errorf("ledger: %d recorded, outcomes %v, want %d complete", r.Recording.Recorded, r.Exchanges.Outcomes, len(asks))
	}
	if found, err := cassette.Verify(dir); err != nil || len(found) > 0 {
		t.Errorf("Verify = %v, %v, want nothing amiss", found, err)
	}
	return views
}

// replay lets a client ask the same again, and compares what it sees.
func (s *stage) replay(t *testing.T, c *client, program, dir string, recorded []string) {
	a := s.start(t, append([]string{"replay", "-f", dir}, doors()...)...)
	asks := c.asks(t, a)
	views := c.run(s, t, program, asks)
	same := 0
	for i, k := range asks {
		if views[i] == recorded[i] {
			same++
			continue
		}
		t.Errorf("%s: the replay differs:\n%s", k.name, difference(recorded[i], views[i]))
	}
	if code := a.stop(t); code != 0 {
		t.Errorf("replay: exit %d, want 0 (98 are misses):\n%.3000s", code, a.stderr.String())
	}
	if r := a.report(t).Ledger.Exchanges; r.Count != len(asks) || r.Outcomes["complete"] != len(asks) {
		t.Errorf("ledger: %d exchanges, outcomes %v, want %d complete", r.Count, r.Outcomes, len(asks))
	}
	t.Logf("%d of %d answers the same to the byte", same, len(asks))
}

// difference shows the lines that two views do not share.
func difference(want, got string) string {
	var b strings.Builder
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var x, y string
		if i < len(w) {
			x = w[i]
		}
		if i < len(g) {
			y = g[i]
		}
		if x != y {
			fmt.Fprintf(&b, "  recorded %q\n  replayed %q\n", x, y)
		}
	}
	return b.String()
}

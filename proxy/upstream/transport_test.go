package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

const (
	h1 = "HTTP/1.1"
	h2 = "HTTP/2.0"
)

// The upstream's protocol mirrors the client's as far as the server goes.
func TestProtocol(t *testing.T) {
	for _, c := range []struct{ mode, client, want string }{
		{"h1", h1, h1}, {"h1", h2, h1},
		{"h1s", h1, h1}, {"h1s", h2, h1},
		{"h2", h1, h1}, {"h2", h2, h2},
		{"h2c", h1, h1}, {"h2c", h2, h2},
	} {
		o := newOrigin(t, c.mode)
		tr := o.transport(t)
		for i := range 3 {
			res, body := fetch(t, tr, o.req(c.client, "GET", "/hello", fixtures.Field{Name: "cookie", Value: "a=1"}, fixtures.Field{Name: "cookie", Value: "b=2"}))
			if res.Proto != c.want || res.Header.Get("x-proto") != c.want || body != "hello" || res.Length != 5 {
				t.Errorf("%s to %s: %s (server saw %s), %q, length %d; want %s", c.client, c.mode, res.Proto, res.Header.Get("x-proto"), body, res.Length, c.want)
			}
			if got := res.Header.Get("x-names"); got != "Cookie" {
				t.Errorf("%s to %s: server saw fields %s, want Cookie alone", c.client, c.mode, got)
			}
			if got := res.Header.Get("x-cookie"); c.client == h2 && got != "a=1; b=2" {
				t.Errorf("%s to %s: cookie = %q, want the crumbs joined", c.client, c.mode, got)
			}
			tc := res.Trace
			if tc.Reused != (i > 0) || (tc.Connect > 0) != (i == 0) || (tc.TLS > 0) != (i == 0 && o.Certificate() != nil) {
				t.Errorf("%s to %s, exchange %d: trace = %+v", c.client, c.mode, i, tc)
			}
			if tc.SentAt.IsZero() || tc.FirstAt.Before(tc.SentAt) || tc.RemoteNet == nil {
				t.Errorf("%s to %s: sent %v, first byte %v, remote %v", c.client, c.mode, tc.SentAt, tc.FirstAt, tc.RemoteNet)
			}
		}
		want := 1
		if c.client == h2 && c.mode == "h1" {
			want = 2 // the first was spent on finding out
		}
		if got := o.accepted(); got != want {
			t.Errorf("%s to %s: %d connections for 3 exchanges, want %d", c.client, c.mode, got, want)
		}
		if s := tr.stats(); len(s) != 1 || s[0].Open != 1 || s[0].Idle != 1 {
			t.Errorf("%s to %s: stats = %+v, want one idle connection", c.client, c.mode, s)
		}
	}
}

// Bodies of known and unknown length, trailers, interim responses.
func TestBodies(t *testing.T) {
	for _, c := range []struct{ mode, client string }{{"h1", h1}, {"h1s", h2}, {"h2", h2}, {"h2c", h2}} {
		o := newOrigin(t, c.mode)
		tr := o.transport(t)
		body := strings.Repeat("0123456789", 200_000)
		for _, length := range []int64{int64(len(body)), -1} {
			r := o.req(c.client, "POST", "/echo")
			r.Body, r.Length = strings.NewReader(body), length
			if length < 0 {
				r.Chunked = c.client == h1
				r.Header.Add("trailer", "x-up")
				r.Trailer = func() fixtures.Header { return fixtures.Header{{Name: "X-Up", Value: "42"}} }
			}
			res, got := fetch(t, tr, r)
			if got != body {
				t.Fatalf("%s to %s, length %d: %d bytes came back, want %d", c.client, c.mode, length, len(got), len(body))
			}
			if res.Trailer == nil {
				t.Fatalf("%s to %s: no trailer", c.client, c.mode)
			}
			sum, late := res.Trailer().Get("x-sum"), res.Trailer().Get("x-late")
			if want := map[bool]string{true: "42", false: ""}[length < 0]; sum != want || late != "late" {
				t.Errorf("%s to %s: trailers = %q %q, want %q and late", c.client, c.mode, sum, late, want)
			}
		}
		var interim []int
		r := o.req(c.client, "GET", "/hints")
		r.Inform = func(status int, h fixtures.Header) {
			if interim = append(interim, status); h.Get("link") != "</a>" {
				t.Errorf("%s to %s: interim fields = %v", c.client, c.mode, h)
			}
		}
		if res, _ := fetch(t, tr, r); res.Status != 200 || len(interim) != 1 || interim[0] != 103 {
			t.Errorf("%s to %s: interim = %v, then %d", c.client, c.mode, interim, res.Status)
		}
		if res, got := fetch(t, tr, o.req(c.client, "HEAD", "/hello")); got != "" || res.Header.Get("content-length") != "5" {
			t.Errorf("%s to %s: HEAD = %q, %v", c.client, c.mode, got, res.Header)
		}
	}
}

func TestVerification(t *testing.T) {
	o := newOrigin(t, "h2")
	for _, proto := range []string{h1, h2} {
		tr := &Transport{}
		_, err := tr.RoundTrip(context.Background(), o.req(proto, "GET", "/hello"))
		ue, ok := errors.AsType[*wire.UpstreamError](err)
		if !ok || ue.Op != "tls" || !strings.Contains(err.Error(), "certificate of 127.0.0.1") || !strings.Contains(err.Error(), "--set upstream.ca_file") {
			t.Errorf("unknown authority: %v", err)
		}
		_ = tr.Close()

		tr = o.transport(t)
		tr.Resolve = map[string]string{"other.test:443": o.Listener.Addr().String()}
		r := o.req(proto, "GET", "/hello")
		r.Host = "other.test"
		if _, err = tr.RoundTrip(context.Background(), r); err == nil || !strings.Contains(err.Error(), "a name that the certificate lists") {
			t.Errorf("wrong name: %v", err)
		}

		tr = &Transport{InsecureSkipVerify: true, Resolve: tr.Resolve}
		if res, _ := fetch(t, tr, r); res.Header.Get("x-host") != "other.test" {
			t.Errorf("unverified: host = %q, want other.test", res.Header.Get("x-host"))
		}
		_ = tr.Close()
	}
	plain := newOrigin(t, "h1")
	r := plain.req(h1, "GET", "/hello")
	r.Scheme = "https"
	if _, err := plain.transport(t).RoundTrip(context.Background(), r); err == nil || !strings.Contains(err.Error(), "is http:// meant?") {
		t.Errorf("TLS to a plain port: %v", err)
	}
}

func TestErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr().String()
	_ = ln.Close()
	tr := &Transport{}
	for _, c := range []struct {
		r  wire.Request
		op string
	}{
		{wire.Request{Proto: h1, Method: "GET", Scheme: "http", Host: dead, Target: "/"}, "dial"},
		{wire.Request{Proto: h2, Method: "GET", Scheme: "http", Host: dead, Target: "/"}, "dial"},
		{wire.Request{Proto: h1, Method: "GET", Scheme: "http", Host: "", Target: "/"}, "dial"},
		{wire.Request{Proto: h1, Method: "GET", Scheme: "ftp", Host: dead, Target: "/"}, "dial"},
		{wire.Request{Proto: h1, Method: "GET", Scheme: "http", Host: "no such name", Target: "/"}, "resolve"},
	} {
		_, err := tr.RoundTrip(context.Background(), &c.r)
		if ue, ok := errors.AsType[*wire.UpstreamError](err); !ok || ue.Op != c.op {
			t.Errorf("%s %s://%s: %v, want op %s", c.r.Proto, c.r.Scheme, c.r.Host, err, c.op)
		}
	}
	_ = tr.Close()
	if _, err := tr.RoundTrip(context.Background(), &wire.Request{Proto: h1, Method: "GET", Scheme: "http", Host: dead, Target: "/"}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
	for _, c := range []struct{ mode, client string }{{"h1", h1}, {"h2", h2}} {
		o := newOrigin(t, c.mode)
		tr := o.transport(t)
		tr.ResponseHeaderTimeout = 200 * time.Millisecond
		if _, err := tr.RoundTrip(context.Background(), o.req(c.client, "GET", "/hang")); !errors.Is(err, errNoHead) {
			t.Errorf("%s: hang = %v, want %v", c.client, err, errNoHead)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := tr.RoundTrip(ctx, o.req(c.client, "GET", "/hello")); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: cancelled = %v", c.client, err)
		}
		if _, body := fetch(t, tr, o.req(c.client, "GET", "/hello")); body != "hello" {
			t.Errorf("%s: after the errors: %q", c.client, body)
		}
	}
}

// A server that ends each connection behind its second request without a word:
// what may be repeated is, on a new connection; the rest is an error.
func TestStaleRetry(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var seen, conns atomic.Int32
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			wg.Go(func() {
				defer nc.Close()
				br := bufio.NewReader(nc)
				for i := range 2 {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					if seen.Add(1); i == 0 {
						fmt.Fprint(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
					}
				}
			})
		}
	})
	defer wg.Wait()
	defer ln.Close()
	tr := &Transport{}
	defer tr.Close()
	req := func(method string) *wire.Request {
		return &wire.Request{Proto: h1, Method: method, Scheme: "http", Host: ln.Addr().String(), Target: "/"}
	}
	for range 4 { // each GET but the first meets a connection that answers nothing
		if _, body := fetch(t, tr, req("GET")); body != "ok" {
			t.Fatalf("body = %q", body)
		}
	}
	if got := conns.Load(); got != 4 {
		t.Errorf("%d connections, want 4", got)
	}
	if got := seen.Load(); got != 7 {
		t.Errorf("the server saw %d requests, want 7", got)
	}
	if _, err := tr.RoundTrip(context.Background(), req("POST")); err == nil {
		t.Error("POST on a connection that broke was repeated")
	}
	if got := seen.Load(); got != 8 {
		t.Errorf("the server saw %d requests, want 8", got)
	}
}

// A connection that the server closed while idle is noticed before it is used,
// so that even a POST goes through.
func TestStaleIsSeenBeforeUse(t *testing.T) {
	o := newOrigin(t, "h1")
	tr := o.transport(t)
	fetch(t, tr, o.req(h1, "GET", "/hello"))
	o.CloseClientConnections()
	r := o.req(h1, "POST", "/echo")
	r.Body, r.Length = strings.NewReader("abc"), 3
	if _, body := fetch(t, tr, r); body != "abc" {
		t.Errorf("POST = %q, want abc", body)
	}
}

// The same for HTTP/2: whether the loss is noticed before the request or by it,
// a GET goes through.
func TestLostHTTP2(t *testing.T) {
	for _, mode := range []string{"h2", "h2c"} {
		o := newOrigin(t, mode)
		tr := o.transport(t)
		for range 20 {
			fetch(t, tr, o.req(h2, "GET", "/hello"))
			o.CloseClientConnections()
		}
		if res, _ := fetch(t, tr, o.req(h2, "GET", "/hello")); res.Proto != h2 {
			t.Errorf("%s: %s, want HTTP/2 still", mode, res.Proto)
		}
	}
}

// A server that says GOAWAY for what it did not see gets a POST again.
func TestUnservedIsRepeated(t *testing.T) {
	var conns atomic.Int32
	addr := listen(t, func(n int32, nc net.Conn) {
		conns.Add(1)
		speakHTTP2(nc, func(fr *xhttp2.Framer, _ int, id uint32) bool {
			if n == 1 {
				_ = fr.WriteGoAway(0, xhttp2.ErrCodeNo, nil)
			} else {
				answer204(fr, id)
			}
			return true
		})
	})
	tr := &Transport{}
	defer tr.Close()
	res, _ := fetch(t, tr, request(h2, "POST", addr))
	if res.Status != 204 || conns.Load() != 2 {
		t.Errorf("status %d on connection %d, want 204 on the second", res.Status, conns.Load())
	}
}

// 64 goroutines over each protocol, no more connections than exchanges at once,
// none left behind.
func TestParallel(t *testing.T) {
	for _, c := range []struct{ mode, client string }{{"h1", h1}, {"h1s", h1}, {"h2", h2}, {"h2c", h2}, {"h1s", h2}} {
		o := newOrigin(t, c.mode)
		tr := o.transport(t)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range 10 {
					r := o.req(c.client, "POST", "/echo")
					r.Body, r.Length = strings.NewReader("some body"), 9
					res, err := tr.RoundTrip(context.Background(), r)
					if err != nil {
						t.Errorf("%s to %s: %v", c.client, c.mode, err)
						return
					}
					if b, err := io.ReadAll(res.Body); string(b) != "some body" || err != nil {
						t.Errorf("%s to %s: %q, %v", c.client, c.mode, b, err)
					}
					_ = res.Body.Close()
				}
			})
		}
		wg.Wait()
		limit := 64
		if c.client == h2 && c.mode != "h1s" {
			limit = 4
		}
		if got := o.accepted(); got > limit {
			t.Errorf("%s to %s: %d connections, want at most %d", c.client, c.mode, got, limit)
		}
		tr.closeIdle()
		if s := tr.stats(); len(s) != 0 {
			t.Errorf("%s to %s: left over: %+v", c.client, c.mode, s)
		}
	}
}

// Idle connections go after IdleTimeout, and beyond MaxIdlePerHost at once.
func TestIdle(t *testing.T) {
	for _, c := range []struct{ mode, client string }{{"h1", h1}, {"h2", h2}} {
		o := newOrigin(t, c.mode)
		tr := o.transport(t)
		tr.IdleTimeout = 20 * time.Millisecond
		fetch(t, tr, o.req(c.client, "GET", "/hello"))
		for deadline := time.Now().Add(10 * time.Second); len(tr.stats()) > 0; {
			if time.Now().After(deadline) {
				t.Fatalf("%s: still open: %+v", c.client, tr.stats())
			}
			<-time.After(time.Millisecond)
		}
	}
	o := newOrigin(t, "h1")
	tr := o.transport(t)
	tr.MaxIdlePerHost = 1
	a, err := tr.RoundTrip(context.Background(), o.req(h1, "GET", "/hello"))
	if err != nil {
		t.Fatal(err)
	}
	fetch(t, tr, o.req(h1, "GET", "/hello"))
	_, _ = io.Copy(io.Discard, a.Body)
	_ = a.Body.Close()
	if s := tr.stats(); len(s) != 1 || s[0].Open != 1 {
		t.Errorf("stats = %+v, want one connection", s)
	}
}

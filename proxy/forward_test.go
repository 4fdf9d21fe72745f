package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// throughProxy is a client that uses the forward door.
func (g *rig) throughProxy(h2 bool) *http.Client {
	tr := &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: g.addr, User: url.UserPassword("u", "proxy-secret")}),
		TLSClientConfig: &tls.Config{RootCAs: g.ca}, ForceAttemptHTTP2: h2,
	}
	g.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// showHeader answers with what of the request's head is for one hop alone.
func showHeader(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "%s %s %q %q %q", r.Proto, r.Host, r.Header.Get("Proxy-Authorization"), r.Header.Get("Proxy-Connection"), r.Header.Get("X-Hop"))
}

func TestForward(t *testing.T) {
	for _, tc := range []struct {
		up, proto string
		h2        bool
	}{{"h1", "HTTP/1.1", false}, {"h1s", "HTTP/1.1", false}, {"h2", "HTTP/2.0", true}} {
		t.Run(tc.up, func(t *testing.T) {
			to := origin(t, tc.up, showHeader)
			host := strings.SplitN(to, "://", 2)[1]
			g := newRig(t, "", forwarding, recording)
			resp := get(t, g.throughProxy(tc.h2), to+"/a?b=c")
			if want := fmt.Sprintf(`%s %s "" "" ""`, tc.proto, host); resp.body != want {
				t.Errorf("upstream saw %s, want %s", resp.body, want)
			}
			x := g.books.exchange(t, 1)
			if x.Request.URL() != to+"/a?b=c" || x.Request.Proto != tc.proto {
				t.Errorf("recorded %s %s", x.Request.Proto, x.Request.URL())
			}
			g.stop()
			if e := g.books.ends(t, 1)[0]; e.Fate != ConnCaptured || e.Host != host || e.Protocol != tc.proto {
				t.Errorf("connection ended as %+v", e)
			}
		})
	}
}

func TestForwardPipelines(t *testing.T) {
	to := strings.TrimPrefix(origin(t, "h1", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }), "http://")
	g := newRig(t, "", forwarding)
	got, err := g.ask(fmt.Sprintf("GET http://%[1]s/a HTTP/1.1\r\nHost: %[1]s\r\n\r\nGET http://%[1]s/b HTTP/1.1\r\nHost: other\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\n", to))
	if a, b := strings.Index(got, "/a"), strings.Index(got, "/b"); err != nil || a < 0 || b < a {
		t.Errorf("got %q, %v", got, err)
	}
	if x := g.books.exchange(t, 2); x.Request.Host != to || x.Request.Target != "/b" {
		t.Errorf("recorded %s", x.Request.URL())
	}
}

// What is sent to the door itself gets the door's own pages, and no loop.
func TestForwardDoorPages(t *testing.T) {
	g := newRig(t, "", forwarding)
	c, base := g.client("h1")
	if resp := get(t, c, base+"/ca.pem"); !strings.HasPrefix(resp.body, "-----BEGIN CERTIFICATE") || resp.ContentLength <= 0 {
		t.Errorf("/ca.pem = %q, length %d", resp.body, resp.ContentLength)
	}
	if resp := get(t, c, base+"/"); resp.StatusCode != 400 || !strings.Contains(resp.body, "curl -x") {
		t.Errorf("/ = %d %q", resp.StatusCode, resp.body)
	}
	if resp := get(t, g.throughProxy(false), "http://"+g.addr+"/"); resp.StatusCode != 400 {
		t.Errorf("the door through itself = %d %q", resp.StatusCode, resp.body)
	}
	got, _ := g.ask("\x00\x01\x02")
	if !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("nonsense is answered with %q, want 400", got)
	}
	g.books.until(t, "end of the nonsense", func() bool {
		for _, ends := range g.books.closed {
			if ends[0].Fate == ConnDropped && strings.Contains(ends[0].Reason, `"\x00\x01\x02"`) {
				return true
			}
		}
		return false
	})
}

// connect opens a tunnel through the door to host and returns the status line.
func (g *rig) connect(host string) (*net.TCPConn, string) {
	g.t.Helper()
	nc := g.dial()
	if _, err := fmt.Fprintf(nc, "CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", host); err != nil {
		g.t.Fatal(err)
	}
	var head []byte
	for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
		if _, err := nc.Read(b); err != nil {
			g.t.Fatalf("CONNECT: %v after %q", err, head)
		}
		head = append(head, b...)
	}
	return nc, string(head)
}

// The server speaks first: the tunnel is raw, and its bytes come as they are.
func TestConnectRaw(t *testing.T) {
	to := rawOrigin(t, func(nc *net.TCPConn) {
		_, _ = io.WriteString(nc, "220 ready\r\n")
		_, _ = io.Copy(nc, nc)
		_ = nc.CloseWrite()
	})
	for _, pass := range []bool{false, true} {
		g := newRig(t, "", forwarding, tuneServer(func(s *Server) { s.Pass = func(string) bool { return pass } }))
		nc, _ := g.connect(to)
		br := bufio.NewReader(nc)
		if line, err := br.ReadString('\n'); line != "220 ready\r\n" {
			t.Fatalf("greeting %q, %v", line, err)
		}
		sent := strings.Repeat("binary \x00\xff ", 100000)
		go func() { // ends when all is sent
			_, _ = io.WriteString(nc, sent)
			_ = nc.CloseWrite()
		}()
		if got, err := io.ReadAll(br); string(got) != sent || err != nil {
			t.Errorf("%d bytes came back, %v, want %d, the same", len(got), err, len(sent))
		}
		e := g.books.ends(t, 1)[0]
		if e.Fate != ConnPassed || e.Protocol != "raw" || e.Host != to || e.BytesIn != int64(len(sent)) || e.BytesOut != int64(len(sent)+11) {
			t.Errorf("ended as %+v", e)
		}
	}
}

// A host that passes is not looked into: the client sees the server's own certificate.
func TestConnectPassesTLS(t *testing.T) {
	to := origin(t, "h1s", sayHello)
	u, _ := url.Parse(to)
	for _, noCA := range []bool{false, true} {
		g := newRig(t, "", forwarding, tuneServer(func(s *Server) {
			s.Pass = func(host string) bool { return host == u.Hostname() }
			if noCA {
				s.Pass, s.TLS = nil, nil
			}
		}))
		c := g.throughProxy(false)
		c.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true
		resp := get(t, c, to)
		if issuer := resp.TLS.PeerCertificates[0].Issuer.String(); strings.Contains(issuer, "understudy") || resp.body != hello {
			t.Errorf("%q from a server certified by %s", resp.body, issuer)
		}
		g.stop()
		if e := g.books.ends(t, 1)[0]; e.Fate != ConnPassed || e.Protocol != "tls" || e.BytesIn == 0 || e.BytesOut == 0 {
			t.Errorf("ended as %+v", e)
		}
	}
}

func TestConnectToTheDead(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr().String()
	_ = ln.Close()
	g := newRig(t, "", forwarding)
	resp := get(t, g.throughProxy(false), "https://"+dead+"/") // intercepted: the answer tells
	if resp.StatusCode != 502 || !strings.Contains(resp.body, "refused") {
		t.Errorf("%d %s", resp.StatusCode, resp.body)
	}
	g = newRig(t, "", forwarding, tuneServer(func(s *Server) { s.Pass = func(string) bool { return true } }))
	if _, head := g.connect(dead); !strings.HasPrefix(head, "HTTP/1.1 502 ") {
		t.Errorf("CONNECT = %q, want 502", head)
	}
	if e := g.books.ends(t, 1)[0]; e.Fate != ConnDropped || !strings.Contains(e.Reason, "refused") {
		t.Errorf("ended as %+v", e)
	}
}

func TestConnectClearHTTP(t *testing.T) {
	to := strings.TrimPrefix(origin(t, "h1", showHeader), "http://")
	g := newRig(t, "", forwarding)
	nc, _ := g.connect(to)
	// The request names another host: it goes where the tunnel leads.
	_, _ = io.WriteString(nc, "GET /x HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n")
	if got, _ := io.ReadAll(nc); !strings.HasSuffix(string(got), `HTTP/1.1 app.test "" "" ""`) {
		t.Errorf("got %q", got)
	}
	if x := g.books.exchange(t, 1); x.Request.URL() != "http://app.test/x" {
		t.Errorf("recorded %s", x.Request.URL())
	}
}

// A client that does not trust us is told apart, with what would help.
func TestConnectDistrusted(t *testing.T) {
	g := newRig(t, "", forwarding)
	c := g.throughProxy(false)
	c.Transport.(*http.Transport).TLSClientConfig.RootCAs = x509.NewCertPool()
	if _, err := c.Get("https://example.test/"); err == nil {
		t.Fatal("the client trusts us, without reason")
	}
	if e := g.books.ends(t, 1)[0]; e.Fate != ConnDropped || !strings.Contains(e.Reason, "trust") || e.Host != "example.test" || e.Protocol != "tls" {
		t.Errorf("ended as %+v", e)
	}
}

func TestConnectGoneAtOnce(t *testing.T) {
	g := newRig(t, "", forwarding)
	nc, _ := g.connect("example.test:443")
	_ = nc.Close()
	if e := g.books.ends(t, 1)[0]; e.Fate != ConnDropped || e.Host != "example.test:443" {
		t.Errorf("ended as %+v", e)
	}
}

func TestDoorRefuses(t *testing.T) {
	to := origin(t, "h1s", sayHello)
	once := func(what fixtures.Refusal, host string) *planned {
		asked := map[string]bool{}
		return &planned{door: func(_ *wire.Conn, h string) fixtures.Refusal {
			if again := asked[h]; again || host != "" && !strings.HasPrefix(h, host) {
				return fixtures.RefuseNone // rules are asked once
			}
			asked[h] = true
			return what
		}}
	}
	t.Run("reverse, connection", func(t *testing.T) {
		g := newRig(t, to, planning(once(fixtures.RefuseConnection, "")))
		nc, err := net.Dial("tcp", g.addr) // the reset may come as early as this
		if err == nil {
			_, err = io.ReadAll(nc)
			_ = nc.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("error %v, want a reset", err)
		}
		if e := g.books.ends(t, 1)[0]; e.Fate != ConnRefused || e.Reason != "rule door rule" {
			t.Errorf("ended as %+v", e)
		}
	})
	t.Run("reverse, tls", func(t *testing.T) { // decided at accept, struck at the ClientHello
		g := newRig(t, to, planning(once(fixtures.RefuseTLS, "")))
		c, base := g.client("h1s")
		if _, err := c.Get(base); err == nil || !strings.Contains(err.Error(), "handshake failure") {
			t.Errorf("error %v, want the alert handshake_failure", err)
		}
		if e := g.books.ends(t, 1)[0]; e.Fate != ConnRefused || e.Protocol != "tls" {
			t.Errorf("ended as %+v", e)
		}
	})
	t.Run("forward, connection", func(t *testing.T) {
		g := newRig(t, "", forwarding, planning(once(fixtures.RefuseConnection, "api.test")))
		nc, head := g.connect("api.test:443")
		if _, err := io.ReadAll(nc); !strings.HasPrefix(head, "HTTP/1.1 502 ") || err != nil {
			t.Errorf("CONNECT = %q, then %v", head, err)
		}
		_ = nc.Close()
		if e := g.books.ends(t, 1)[0]; e.Fate != ConnRefused || e.Host != "api.test:443" {
			t.Errorf("ended as %+v", e)
		}
	})
	t.Run("forward, tls of a host that passes", func(t *testing.T) {
		g := newRig(t, "", forwarding, planning(once(fixtures.RefuseTLS, "api.test")), tuneServer(func(s *Server) { s.Pass = func(string) bool { return true } }))
		if _, err := g.throughProxy(false).Get("https://api.test/"); err == nil || !strings.Contains(err.Error(), "handshake failure") {
			t.Errorf("error %v, want the alert handshake_failure", err)
		}
	})
}

// An upgraded connection carries bytes both ways, however it came.
func TestUpgrade(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" || !strings.EqualFold(r.Header.Get("Connection"), "upgrade") {
			http.Error(w, "want an upgrade", http.StatusUpgradeRequired)
			return
		}
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\nX-Yes: 1\r\n\r\nhi ")
		_, _ = io.Copy(nc, rw)
	}
	const ask = "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nearly "
	for _, mode := range []string{"reverse", "tunnel", "tunnel with TLS"} {
		t.Run(mode, func(t *testing.T) {
			up := "h1"
			if mode == "tunnel with TLS" {
				up = "h1s"
			}
			to := origin(t, up, h)
			host := strings.SplitN(to, "://", 2)[1]
			var g *rig
			var nc net.Conn
			if mode == "reverse" {
				g = newRig(t, to, recording)
				nc = g.dial()
			} else {
				g = newRig(t, "", forwarding, recording)
				nc, _ = g.connect(host)
			}
			if up == "h1s" {
				nc = tls.Client(nc, &tls.Config{RootCAs: g.ca, ServerName: "127.0.0.1", NextProtos: []string{"http/1.1"}})
			}
			_, _ = fmt.Fprintf(nc, ask, host)
			br := bufio.NewReader(nc)
			resp, err := http.ReadResponse(br, nil)
			if err != nil || resp.StatusCode != 101 || resp.Header.Get("X-Yes") != "1" || resp.Header.Get("Upgrade") != "echo" {
				t.Fatalf("%+v, %v", resp, err)
			}
			_, _ = io.WriteString(nc, "late")
			got := make([]byte, len("hi early late"))
			if _, err := io.ReadFull(br, got); err != nil || string(got) != "hi early late" {
				t.Errorf("echo %q, %v", got, err)
			}
			_ = nc.Close()
			if x := g.books.exchange(t, 1); x.Response.Status != 101 || x.Outcome != "" || x.Error != "" {
				t.Errorf("status %d, outcome %q, error %q", x.Response.Status, x.Outcome, x.Error)
			}
		})
	}
}

// A 101 that a rule asked for in the client's place is told as the failure it is, and
// the client's connection goes on.
func TestUpgradeUnasked(t *testing.T) {
	to := origin(t, "h1", func(w http.ResponseWriter, r *http.Request) {
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		_, _ = io.Copy(io.Discard, nc)
	})
	g := newRig(t, to, planning(always(fixtures.Plan{EditRequest: []fixtures.Edit{
		{Op: fixtures.EditSet, Name: "Upgrade", Value: "echo"}, {Op: fixtures.EditSet, Name: "Connection", Value: "Upgrade"},
	}})))
	nc := g.dial()
	br := bufio.NewReader(nc)
	for range 2 {
		_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); resp.StatusCode != 502 || !strings.Contains(string(body), "switched protocols") || err != nil {
			t.Errorf("status %d, %v:\n%s\nwant 502 with the reason", resp.StatusCode, err, body)
		}
	}
}

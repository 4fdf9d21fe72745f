package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/upstream"
)

// meantFor makes a rig's door transparent: every connection was for addr.
func meantFor(addr string) config {
	return func(g *rig) { g.found = func(net.Conn) (Meant, error) { return Meant{Host: addr}, nil } }
}

// Whatever HTTP a client speaks, unaware, reaches whom it was for. The client's own
// protocol tells whether it wanted TLS, so the upstream speaks the same.
func TestTransparent(t *testing.T) {
	for mode, up := range map[string]string{"h1": "h1", "h1s": "h1s", "h2": "h2", "h2c": "h2c"} {
		t.Run(mode, func(t *testing.T) {
			to, err := url.Parse(origin(t, up, http.HandlerFunc(kitchen)))
			if err != nil {
				t.Fatal(err)
			}
			g := newRig(t, "", meantFor(to.Host), recording, tuneServer(func(s *Server) { s.Patience = patience }))
			c, base := g.client(mode)
			for range 2 {
				if resp := get(t, c, base+"/plain"); resp.body != "plain text" {
					t.Errorf("GET /plain = %d %q", resp.StatusCode, resp.body)
				}
			}
			x := g.books.exchange(t, 1)
			if x.Request.Host != g.addr || x.Outcome != fixtures.OutcomeComplete || !x.Wire.Transparent {
				t.Errorf("exchange %+v, want host %s as the client named it", x.Exchange, g.addr)
			}
		})
	}
}

// What is neither HTTP nor TLS is passed on, whoever speaks first.
func TestTransparentPassesTheRest(t *testing.T) {
	for name, first := range map[string]bool{"client speaks first": true, "server speaks first": false} {
		t.Run(name, func(t *testing.T) {
			to := rawOrigin(t, func(nc *net.TCPConn) {
				if !first {
					_, _ = io.WriteString(nc, "220 hello\r\n")
				}
				_, _ = io.Copy(nc, nc)
				_ = nc.CloseWrite()
			})
			g := newRig(t, "", meantFor(to))
			nc := g.dial()
			want := ""
			if !first {
				want = "220 hello\r\n"
				if _, err := io.ReadFull(nc, make([]byte, len(want))); err != nil {
					t.Fatal(err)
				}
			}
			_, _ = io.WriteString(nc, "*1\r\n$4\r\nPING\r\n")
			_ = nc.CloseWrite()
			if got, err := io.ReadAll(nc); string(got) != "*1\r\n$4\r\nPING\r\n" || err != nil {
				t.Errorf("echo = %q, %v", got, err)
			}
			_ = nc.Close()
			g.stop()
			end := g.books.closed[1][0]
			if end.Fate != ConnPassed || end.Host != to || end.BytesIn != 14 || end.BytesOut != int64(14+len(want)) {
				t.Errorf("end %+v, want 14 bytes passed to %s", end, to)
			}
		})
	}
}

// A client that knows nothing of a proxy must not hear one: what cannot be
// reached is a broken connection, not a 502.
func TestTransparentDeadDependency(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	g := newRig(t, "", meantFor(ln.Addr().String()))
	for _, raw := range []string{"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "\x00\x01not HTTP"} {
		got, err := g.ask(raw)
		if got != "" || err == nil {
			t.Errorf("%q was answered with %q, %v; want a reset", raw, got, err)
		}
	}
}

func TestTransparentUnknownDestination(t *testing.T) {
	g := newRig(t, "", func(g *rig) {
		g.found = func(net.Conn) (Meant, error) { return Meant{}, errors.New("nobody redirected this connection") }
	})
	if nc, err := net.Dial("tcp", g.addr); err == nil { // the reset may come as early as that
		if got, err := io.ReadAll(nc); len(got) > 0 || err == nil {
			t.Errorf("answered with %q, %v; want a reset", got, err)
		}
		_ = nc.Close()
	}
	g.books.until(t, "the connection's end", func() bool { return len(g.books.closed[1]) > 0 })
	if end := g.books.closed[1][0]; end.Fate != ConnDropped || !strings.Contains(end.Reason, "nobody redirected") {
		t.Errorf("end %+v, want it dropped with the reason", end)
	}
}

// Hosts that are to be passed on are not looked into, however they look.
func TestTransparentPass(t *testing.T) {
	to := rawOrigin(t, func(nc *net.TCPConn) { _, _ = io.Copy(nc, nc); _ = nc.CloseWrite() })
	g := newRig(t, "", meantFor(to), tuneServer(func(s *Server) { s.Pass = func(string) bool { return true } }))
	nc := g.dial()
	hello := []byte{22, 3, 1, 0, 4, 1, 2, 3, 4}
	_, _ = nc.Write(hello)
	_ = nc.CloseWrite()
	if got, err := io.ReadAll(nc); !bytes.Equal(got, hello) || err != nil {
		t.Errorf("passed = %q, %v", got, err)
	}
}

// A connection that is known by its address is judged by the name that it tells:
// were the address asked about in its place, "open only api.test" would open nothing.
func TestTransparentPassByName(t *testing.T) {
	var asked []string
	for _, tc := range []struct {
		name   string
		server func(s *Server)
		want   ConnFate
	}{
		{"by the name", func(s *Server) { s.PassAddress = func(string) bool { return false } }, ConnCaptured},
		{"by the address", func(s *Server) { s.PassAddress = func(string) bool { return true } }, ConnPassed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			to, err := url.Parse(origin(t, "h1s", http.HandlerFunc(kitchen)))
			if err != nil {
				t.Fatal(err)
			}
			g := newRig(t, "", meantFor(to.Host), tuneServer(tc.server), tuneServer(func(s *Server) {
				s.Patience = patience // the client speaks first, however busy the machine
				s.Pass = func(host string) bool { asked = append(asked, host); return host != "api.test" }
			}))
			nc := tls.Client(g.dial(), &tls.Config{ServerName: "api.test", InsecureSkipVerify: true})
			_, _ = io.WriteString(nc, "GET /plain HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n")
			if got, err := io.ReadAll(nc); !strings.Contains(string(got), "plain text") {
				t.Errorf("GET /plain = %q, %v", got, err)
			}
			_ = nc.Close()
			g.stop()
			if end := g.books.closed[1][0]; end.Fate != tc.want {
				t.Errorf("end %+v, want it %s; asked about %q", end, tc.want, asked)
			}
		})
	}
}

// An address that has a name, in /etc/hosts, may be meant itself. A TLS client that says
// no name verifies the address, and so must we.
func TestTransparentTLSToANamedAddress(t *testing.T) {
	for name, said := range map[string]string{"by address": "", "by name": "shop.test"} {
		t.Run(name, func(t *testing.T) {
			to, err := url.Parse(origin(t, "h1s", http.HandlerFunc(kitchen)))
			if err != nil {
				t.Fatal(err)
			}
			named := net.JoinHostPort("shop.test", to.Port())
			want := map[string]string{"": to.Host, "shop.test": named}[said]
			g := newRig(t, "", recording, tuneServer(func(s *Server) { s.Patience = patience }), func(g *rig) {
				g.found = func(net.Conn) (Meant, error) { return Meant{Host: named, Address: to.Host}, nil }
			}, tune(func(o *Options) {
				o.Upstream.(*upstream.Transport).Resolve = map[string]string{named: to.Host}
			}))
			verify := said
			if said == "" {
				verify = to.Hostname() // net/tls verifies an address, but does not send it
			}
			nc := tls.Client(g.dial(), &tls.Config{ServerName: verify, RootCAs: g.ca})
			_, _ = io.WriteString(nc, "GET /plain HTTP/1.1\r\nHost: "+want+"\r\nConnection: close\r\n\r\n")
			if got, err := io.ReadAll(nc); !strings.Contains(string(got), "plain text") {
				t.Errorf("GET /plain = %q, %v", got, err)
			}
			_ = nc.Close()
			g.stop()
			if end := g.books.closed[1][0]; end.Fate != ConnCaptured || end.Host != want {
				t.Errorf("end %+v, want it captured, for %s", end, want)
			}
		})
	}
}

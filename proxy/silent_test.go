package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

// slowOrigin is an HTTP server that tells when somebody has connected.
func slowOrigin(t *testing.T, secure bool) (addr string, connected <-chan struct{}) {
	t.Helper()
	came := make(chan struct{}, 16)
	s := httptest.NewUnstartedServer(http.HandlerFunc(kitchen))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			came <- struct{}{}
		}
	}
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), came
}

// A client that is slow to speak is captured all the same: Java may take more than a
// second from its connect to its ClientHello.
func TestSlowToSpeakIsCaptured(t *testing.T) {
	for name, secure := range map[string]bool{"HTTP": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			to, connected := slowOrigin(t, secure)
			g := newRig(t, "", meantFor(to))
			var nc net.Conn = g.dial()
			<-connected // patience is at its end: the server might be one that speaks first
			if secure {
				nc = tls.Client(nc, &tls.Config{RootCAs: g.ca, ServerName: "localhost"})
			}
			if _, err := io.WriteString(nc, "GET /plain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || string(body) != "plain text" {
				t.Errorf("answer is %q, %v, want plain text", body, err)
			}
			_ = nc.Close()
			if x := g.books.exchange(t, 1); x.Outcome != fixtures.OutcomeComplete {
				t.Errorf("the exchange ended as %q: %s", x.Outcome, x.Error)
			}
			if end := g.books.ends(t, 1)[0]; end.Fate != ConnCaptured {
				t.Errorf("end %+v, want it captured", end)
			}
		})
	}
}

// In replay nobody may be asked: that must not cut off a client that is slow to speak.
func TestSlowToSpeakIsReplayed(t *testing.T) {
	asked := make(chan struct{})
	g := newRig(t, "", meantFor("away.test:80"), responding(answering(textAnswer("hi"))), tuneServer(func(s *Server) {
		s.Dial = func(context.Context, string, string) (net.Conn, error) {
			close(asked)
			return nil, errors.New("nobody may be asked")
		}
	}))
	nc := g.dial()
	<-asked
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: away.test\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("answer is %v, %v, want 200", resp, err)
	}
	_ = resp.Body.Close()
	_ = nc.Close()
}

// Who waits for a server that speaks first hears at once that there is none.
func TestSilentClientOfAServerThatSpeaksFirst(t *testing.T) {
	g := newRig(t, "", meantFor("db.test:3306"), tuneServer(func(s *Server) {
		s.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody may be asked") }
	}))
	nc := g.dial()
	_ = nc.SetReadDeadline(time.Now().Add(lateTime / 2))
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client read %v, want a reset", err)
	}
	if end := g.books.ends(t, 1)[0]; end.Fate != ConnDropped || end.Reason != "nobody may be asked" {
		t.Errorf("end %+v, want it dropped, and why", end)
	}
}

// A silent client of a server that is silent too, or leaves, is passed on as ever.
func TestSilentBothWays(t *testing.T) {
	to := rawOrigin(t, func(nc *net.TCPConn) { _ = nc.CloseWrite(); _, _ = io.Copy(io.Discard, nc) })
	g := newRig(t, "", meantFor(to))
	nc := g.dial()
	if got, err := io.ReadAll(nc); len(got) > 0 || err != nil {
		t.Errorf("the client read %q, %v, want the server's end", got, err)
	}
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
	if end := g.books.ends(t, 1)[0]; end.Fate != ConnPassed || end.BytesIn != 18 {
		t.Errorf("end %+v, want 18 bytes passed", end)
	}
}

package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
)

// What is TLS and not HTTP has nothing for us: it goes where it was meant to go.
func TestOtherProtocolsOverTLSPass(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	authority, err := theAuthority()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { // ends with its one client
		defer close(served)
		defer ln.Close()
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		c := tls.Server(nc, authority.TLSConfig("db.test", "postgresql"))
		defer c.Close()
		_, _ = io.WriteString(c, "hello from "+ln.Addr().String())
	}()
	g := newRig(t, "", meantFor(ln.Addr().String()), tuneServer(func(s *Server) {
		s.Patience = patience // the origin takes one client
	}))
	nc := g.dial()
	c := tls.Client(nc, &tls.Config{RootCAs: g.ca, ServerName: "db.test", NextProtos: []string{"postgresql"}})
	said, err := io.ReadAll(c)
	_ = c.Close()
	if want := "hello from " + ln.Addr().String(); err != nil || string(said) != want {
		t.Errorf("the client read %q, %v, want %q", said, err, want)
	}
	<-served
	g.stop()
	if e := g.books.ends(t, 1)[0]; e.Fate != ConnPassed || e.Protocol != "tls" || e.Reason != "speaks postgresql over TLS, not HTTP" {
		t.Errorf("the connection ended as %+v, want it passed, and why", e)
	}
}

// curl -0 offers http/1.0 alone.
func TestOldHTTPOverTLS(t *testing.T) {
	g := newRig(t, "http://127.0.0.1:1", responding(answering(textAnswer("hi"))))
	nc, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(nc, &tls.Config{RootCAs: g.ca, ServerName: "localhost", NextProtos: []string{"http/1.0"}})
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 200")) {
		t.Errorf("answer is %q, %v, want 200", got, err)
	}
	_ = c.Close()
}

// A client that hangs up in the handshake is booked as one that distrusts us.
func TestUntrustedIsBooked(t *testing.T) {
	g := newRig(t, "http://127.0.0.1:1")
	nc, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(nc, &tls.Config{ServerName: "localhost"}) // the system's roots
	if err := c.Handshake(); err == nil {
		t.Fatal("the handshake succeeded, want a certificate that is refused")
	}
	_ = c.Close()
	e := g.books.ends(t, 1)[0]
	if !e.Untrusted || e.Fate != ConnDropped || !strings.Contains(e.Reason, "does it trust") {
		t.Errorf("the connection ended as %+v, want it dropped and untrusted", e)
	}
}

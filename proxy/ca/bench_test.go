package ca

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"
)

// The handshakes run over net.Pipe: both sides' work, no socket.
func handshake(b *testing.B, server, client *tls.Config) {
	left, right := net.Pipe()
	s, c := tls.Server(left, server), tls.Client(right, client)
	done := make(chan error, 1)
	go func() { // ends with the handshake
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		done <- err
	}()
	if err := c.Handshake(); err != nil {
		b.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	left.Close()
	right.Close()
}

func BenchmarkLeafNewHost(b *testing.B) {
	a, _ := newAuthority(b)
	for i := 0; b.Loop(); i++ {
		if _, err := a.Leaf(fmt.Sprintf("h%d.test", i)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLeafKnownHost(b *testing.B) {
	a, _ := newAuthority(b)
	b.ReportAllocs()
	for b.Loop() {
		a.Leaf("known.test")
	}
}

func BenchmarkHandshakeNewHost(b *testing.B) {
	a, c := newAuthority(b)
	cfg, roots := a.TLSConfig(""), pool(a)
	for i := 0; b.Loop(); i++ {
		handshake(b, cfg, &tls.Config{ServerName: fmt.Sprintf("h%d.test", i), RootCAs: roots, Time: c.now})
	}
}

func BenchmarkHandshakeKnownHost(b *testing.B) {
	a, c := newAuthority(b)
	cfg, roots := a.TLSConfig(""), pool(a)
	for b.Loop() {
		handshake(b, cfg, &tls.Config{ServerName: "known.test", RootCAs: roots, Time: c.now})
	}
}

func BenchmarkHandshakeResumed(b *testing.B) {
	a, c := newAuthority(b)
	cfg, roots := a.TLSConfig(""), pool(a)
	client := &tls.Config{ServerName: "known.test", RootCAs: roots, Time: c.now, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for b.Loop() {
		handshake(b, cfg, client)
	}
}

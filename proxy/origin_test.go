package proxy

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// origin serves h in mode, as client names them.
func origin(t testing.TB, mode string, h http.HandlerFunc) string {
	t.Helper()
	o := httptest.NewUnstartedServer(h)
	switch mode {
	case "h1":
		o.Start()
	case "h1s":
		o.StartTLS()
	case "h2":
		o.EnableHTTP2 = true
		o.StartTLS()
	case "h2c":
		o.Config.Protocols = new(http.Protocols)
		o.Config.Protocols.SetHTTP1(true)
		o.Config.Protocols.SetUnencryptedHTTP2(true)
		o.Start()
	}
	t.Cleanup(o.Close)
	return o.URL
}

// rawOrigin accepts connections and hands each to f on a goroutine of its own.
func rawOrigin(t testing.TB, f func(nc *net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer nc.Close()
				f(nc.(*net.TCPConn))
			})
		}
	})
	return ln.Addr().String()
}

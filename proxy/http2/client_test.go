package http2

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// dialConn is a client connection in cleartext.
func dialConn(t testing.TB, addr string) *Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewConn(nc, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func request(method, target string, h fixtures.Header) *wire.Request {
	return &wire.Request{Proto: "HTTP/2.0", Method: method, Scheme: "http", Host: "a.test:80", Target: target, Header: h}
}

func TestConnRoundTrip(t *testing.T) {
	addr := listen(t, &Server{Handler: scenario(t)}, false)
	c := dialConn(t, addr)
	if err := c.Handshake(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/dump?q=%20a;b&c", "//dump/%2f?", "/dump?a?b#", "/dump//"} {
		res, err := c.RoundTrip(context.Background(), request("GET", target, fixtures.Header{
			{Name: "Host", Value: "b.test"}, {Name: "X-A", Value: "1"}, {Name: "x-a", Value: "2"}, {Name: "Connection", Value: "X-Hop"}, {Name: "X-Hop", Value: "1"}, {Name: "TE", Value: "gzip, trailers"},
		}))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if !strings.HasPrefix(target, "/dump?") {
			if res.Status != 404 {
				t.Errorf("GET %s = %d, want 404", target, res.Status)
			}
			continue
		}
		head, fields, _ := strings.Cut(string(b), "\n")
		if want := "HTTP/2.0 GET http b.test " + target + " 0"; head != want {
			t.Errorf("the server saw %q, want %q", head, want)
		}
		if fields != "x-a: 1\nx-a: 2\nte: trailers\n" && fields != "te: trailers\nx-a: 1\nx-a: 2\n" {
			t.Errorf("the server saw fields\n%s", fields)
		}
	}

	res, err := c.RoundTrip(context.Background(), request("GET", "/trailer", nil))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil || string(b) != "body" || res.Length != -1 || res.Header.Get("trailer") != "x-sum" {
		t.Errorf("trailer: %q %v, length %d, %v", b, err, res.Length, res.Header)
	}
	if tr := res.Trailer(); tr.Get("x-sum") != "42" || tr.Get("x-late") != "yes" {
		t.Errorf("trailer = %v", tr)
	}
	_ = res.Body.Close()

	var seen []int
	r := request("GET", "/inform", nil)
	r.Inform = func(status int, _ fixtures.Header) { seen = append(seen, status) }
	if res, err := c.RoundTrip(context.Background(), r); err != nil || len(seen) != 2 || seen[0] != 103 || seen[1] != 102 || !res.Trace.Reused {
		t.Errorf("inform: %v %v", seen, err)
	} else {
		_ = res.Body.Close()
	}
}

func TestConnErrors(t *testing.T) {
	addr := listen(t, &Server{Handler: scenario(t)}, false)
	for _, c := range []struct {
		path     string
		op       string
		code     int
		unserved bool
	}{
		{"/reset?8", "protocol", 8, false},
		{"/reset?7", "protocol", 7, true},
		{"/goaway", "protocol", 11, false},
		{"/close", "", -1, false},
		{"/abort", "", 2, false},
	} {
		res, err := dialConn(t, addr).RoundTrip(context.Background(), request("GET", c.path, nil))
		if err == nil {
			_, err = io.ReadAll(res.Body)
			_ = res.Body.Close()
		}
		ue, ok := errors.AsType[*wire.UpstreamError](err)
		if !ok || c.op != "" && ue.Op != c.op || code(err) != c.code && c.code >= 0 || errors.Is(err, ErrUnserved) != c.unserved {
			t.Errorf("%s: %v (code %d, unserved %v), want %+v", c.path, err, code(err), errors.Is(err, ErrUnserved), c)
		}
	}
	if _, err := dialConn(t, addr).RoundTrip(context.Background(), request("CONNECT", "a:1", nil)); err == nil {
		t.Error("CONNECT = nil, want an error")
	}
	closed := dialConn(t, addr)
	_ = closed.Close()
	if _, err := closed.RoundTrip(context.Background(), request("GET", "/", nil)); !errors.Is(err, ErrUnserved) {
		t.Errorf("on a closed connection: %v, want ErrUnserved", err)
	}

	// A server that says GOAWAY before it has looked at the request.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = io.ReadFull(nc, make([]byte, len(xhttp2.ClientPreface)))
		fr := xhttp2.NewFramer(nc, nc)
		_ = fr.WriteSettings()
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				return
			}
			if f.Header().Type == xhttp2.FrameHeaders {
				_ = fr.WriteGoAway(0, xhttp2.ErrCodeNo, nil)
			}
		}
	}()
	c := dialConn(t, ln.Addr().String())
	if _, err := c.RoundTrip(context.Background(), request("POST", "/", nil)); !errors.Is(err, ErrUnserved) {
		t.Errorf("behind GOAWAY: %v, want ErrUnserved", err)
	}
	_ = c.Close()
	<-done
}

// An answer that comes while the request's body still waits for its sender.
func TestEarlyAnswer(t *testing.T) {
	addr := listen(t, &Server{Handler: scenario(t)}, false)
	c := dialConn(t, addr)
	pr, pw := io.Pipe()
	r := request("POST", "/ignore", nil)
	r.Body, r.Length = pr, -1
	res, err := c.RoundTrip(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if string(b) != "ignored" || err != nil {
		t.Errorf("body = %q, %v", b, err)
	}
	_ = res.Body.Close() // must not wait for the body
	_ = pw.CloseWithError(io.ErrClosedPipe)
}

// ctx's end tells the client, lets open streams end, and ends the connection.
func TestDrain(t *testing.T) {
	cl, srv := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error)
	go func() { result <- (&Server{Handler: scenario(t)}).ServeConn(ctx, srv, nil) }()
	r := newRaw(t, cl)
	_ = cl.SetDeadline(time.Now().Add(20 * time.Second))
	writes := make(chan func(), 8) // one goroutine writes: a pipe has no buffer
	go func() {
		for write := range writes {
			write()
		}
	}()
	defer close(writes)
	writes <- func() {
		_, _ = io.WriteString(cl, xhttp2.ClientPreface)
		_ = r.fr.WriteSettings()
		r.req(1, false, "/echo")
	}
	if f, err := r.next(); err != nil || f.Header().Type != xhttp2.FrameHeaders {
		t.Fatalf("echo's head: %v %v", f, err)
	}
	cancel()
	var lasts []uint32
	for {
		f, err := r.fr.ReadFrame()
		if err != nil {
			break
		}
		switch f := f.(type) {
		case *xhttp2.GoAwayFrame:
			if lasts = append(lasts, f.LastStreamID); f.ErrCode != xhttp2.ErrCodeNo {
				t.Errorf("GOAWAY %v, want NO_ERROR", f.ErrCode)
			}
			if len(lasts) == 2 {
				writes <- func() { _ = r.fr.WriteData(1, true, []byte("end")) }
			}
		case *xhttp2.PingFrame:
			data := f.Data
			writes <- func() { _ = r.fr.WritePing(true, data) }
		case *xhttp2.DataFrame:
			if len(f.Data()) > 0 && string(f.Data()) != "end" {
				t.Errorf("DATA = %q", f.Data())
			}
		}
	}
	if len(lasts) != 2 || lasts[0] != maxStreamID || lasts[1] != 1 {
		t.Errorf("GOAWAYs named %v, want [2147483647 1]", lasts)
	}
	if err := <-result; err != nil {
		t.Errorf("ServeConn = %v, want nil", err)
	}
}

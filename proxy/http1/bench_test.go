package http1

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/proxy/wire"
)

const benchRequest = "GET /v1/items/17?expand=price HTTP/1.1\r\nHost: shop.test:8080\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n"

// 1 KiB from memory over loopback, keep-alive: what a stub costs.
func BenchmarkServer1KiB(b *testing.B) {
	body := make([]byte, 1024)
	h := header("Content-Type", "application/json", "Content-Length", "1024", "Server", "bench")
	addr := listen(b, &Server{Handler: wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
		_ = w.WriteHead(&wire.Head{Status: 200, Header: h, Length: 1024})
		_, _ = w.Write(body)
		_ = w.Finish(nil)
	})})
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	buf := make([]byte, 4096)
	want := 0
	b.ReportAllocs()
	for b.Loop() {
		_, _ = io.WriteString(nc, benchRequest)
		n, err := nc.Read(buf)
		if want == 0 {
			want = n
		}
		if err != nil || n != want {
			b.Fatalf("read %d bytes, %v; want %d", n, err, want)
		}
	}
}

// The same without sockets: what our own code costs.
func BenchmarkServerParseAndAnswer(b *testing.B) {
	h := header("Content-Type", "application/json", "Content-Length", "1024", "Server", "bench")
	body := make([]byte, 1024)
	s := &Server{Handler: wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
		_ = w.WriteHead(&wire.Head{Status: 200, Header: h, Length: 1024})
		_, _ = w.Write(body)
		_ = w.Finish(nil)
	})}
	b.ReportAllocs()
	_ = s.ServeConn(context.Background(), &endless{n: b.N}, &wire.Conn{})
}

// endless is a client that sends n requests and ignores the answers.
type endless struct {
	net.Conn
	n int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	e.n--
	return copy(p, benchRequest), nil
}
func (e *endless) Write(p []byte) (int, error)     { return len(p), nil }
func (e *endless) Close() error                    { return nil }
func (e *endless) SetReadDeadline(time.Time) error { return nil }

func BenchmarkClientRoundTrip(b *testing.B) {
	body := make([]byte, 1024)
	addr := listen(b, &Server{Handler: wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
		_ = w.WriteHead(&wire.Head{Status: 200, Length: 1024})
		_, _ = w.Write(body)
		_ = w.Finish(nil)
	})})
	conn := dial(b, addr)
	defer conn.Close()
	r := request("GET", "/v1/items/17", header("Host", "a", "Accept", "*/*"), "")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		resp, err := conn.RoundTrip(ctx, r)
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = resp.Body.Read(p)
		}
		_ = resp.Body.Close()
	}
}

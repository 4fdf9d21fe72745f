package http2

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// small answers 1 KiB.
func small() wire.Handler {
	body := bytes.Repeat([]byte("x"), 1024)
	h := fixtures.Header{{Name: "Content-Type", Value: "application/json"}, {Name: "Server", Value: "understudy"}}
	return wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
		_ = w.WriteHead(&wire.Head{Status: 200, Length: int64(len(body)), Header: h})
		_, _ = w.Write(body)
		_ = w.Finish(nil)
	})
}

// One request after the other, the client being a bare framer: nearly all that
// is measured is the server and the system.
func BenchmarkServeSmall(b *testing.B) {
	addr := listen(b, &Server{Handler: small()}, false)
	r := dialRaw(b, addr)
	block := r.block(":method", "GET", ":scheme", "http", ":authority", "a.test", ":path", "/")
	indexed := r.block(":method", "GET", ":scheme", "http", ":authority", "a.test", ":path", "/")
	_ = r.nc.SetDeadline(noDeadline)
	r.fr.SetReuseFrames()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		_ = r.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: block, EndStream: true, EndHeaders: true})
		block = indexed
		for {
			f, err := r.fr.ReadFrame()
			if err != nil {
				b.Fatal(err)
			}
			if d, ok := f.(*xhttp2.DataFrame); ok && d.StreamEnded() {
				break
			}
		}
		if i%32 == 0 {
			_ = r.fr.WriteWindowUpdate(0, 32<<10)
		}
	}
}

// Go's client with 64 requests at once on one connection.
func BenchmarkServeParallel(b *testing.B) {
	addr := listen(b, &Server{Handler: small()}, false)
	cl, base := goClient(b, addr, false)
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			res, err := cl.Get(base + "/")
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	})
}

// The same against net/http's server, for comparison.
func BenchmarkNetHTTPParallel(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1024)
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })}
	s.Protocols.SetUnencryptedHTTP2(true)
	ln := loopback(b)
	go func() { _ = s.Serve(ln) }()
	b.Cleanup(func() { _ = s.Close() })
	cl, base := goClient(b, ln.Addr().String(), false)
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			res, err := cl.Get(base + "/")
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	})
}

// 16 MiB down, through the client side of this package.
func BenchmarkDownload(b *testing.B) {
	addr := listen(b, &Server{Handler: scenario(b)}, false)
	c := dialConn(b, addr)
	b.SetBytes(16 << 20)
	for b.Loop() {
		res, err := c.RoundTrip(context.Background(), request("GET", "/big?16777216", nil))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

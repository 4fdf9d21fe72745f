package http2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	xhttp2 "golang.org/x/net/http2"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testCert is a certificate for 127.0.0.1 and example.com, made by httptest.
var testCert = sync.OnceValue(func() tls.Certificate {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return s.TLS.Certificates[0]
})

// listen serves s on a loopback port; secure chooses TLS with ALPN h2. It stops
// with the test and returns the address.
func listen(t testing.TB, s *Server, secure bool) string {
	t.Helper()
	ln := loopback(t)
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var conns []net.Conn
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, nc)
			mu.Unlock()
			wg.Go(func() {
				if secure {
					tc := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{testCert()}, NextProtos: []string{"h2"}})
					if tc.Handshake() != nil {
						_ = nc.Close()
						return
					}
					nc = tc
				}
				_ = s.ServeConn(ctx, nc, &wire.Conn{})
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		mu.Lock()
		for _, nc := range conns {
			_ = nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// noDeadline takes a deadline off.
var noDeadline time.Time

func loopback(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// goClient is Go's own HTTP/2 client; base is the address with its scheme.
func goClient(t testing.TB, addr string, secure bool) (c *http.Client, base string) {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true}
	if secure {
		tr.Protocols.SetHTTP2(true)
		base = "https://" + addr
	} else {
		tr.Protocols.SetUnencryptedHTTP2(true)
		base = "http://" + addr
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}, base
}

// scenario answers by path; what the tests of all clients need.
func scenario(t testing.TB) wire.Handler {
	return wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
		path, query := fixtures.SplitTarget(r.Target)
		must := func(err error) {
			if err != nil && ctx.Err() == nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		text := func(status int, body string, more ...fixtures.Field) {
			must(w.WriteHead(&wire.Head{Status: status, Length: int64(len(body)), Header: append(fixtures.Header{{Name: "Content-Type", Value: "text/plain"}}, more...)}))
			_, err := io.WriteString(w, body)
			must(err)
			must(w.Finish(nil))
		}
		switch path {
		case "/hello":
			text(200, "hello", fixtures.Field{Name: "Connection", Value: "close, X-Hop"}, fixtures.Field{Name: "X-Hop", Value: "1"}, fixtures.Field{Name: "X-Multi", Value: "a"}, fixtures.Field{Name: "X-Multi", Value: "b"})
		case "/dump":
			var b strings.Builder
			fmt.Fprintf(&b, "%s %s %s %s %s %d\n", r.Proto, r.Method, r.Scheme, r.Host, r.Target, r.Length)
			for _, f := range r.Header {
				fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
			}
			text(200, b.String())
		case "/echo":
			must(w.WriteHead(&wire.Head{Status: 200, Length: -1}))
			must(w.Flush())
			if r.Body != nil {
				_, err := io.Copy(w, r.Body)
				must(err)
			}
			var tr fixtures.Header
			if r.Trailer != nil {
				tr = r.Trailer()
			}
			must(w.Finish(tr))
		case "/big":
			var size int
			fmt.Sscan(query, &size)
			must(w.WriteHead(&wire.Head{Status: 200, Length: int64(size)}))
			must(pattern(w, size))
			must(w.Finish(nil))
		case "/trailer":
			must(w.WriteHead(&wire.Head{Status: 200, Length: -1, Header: fixtures.Header{{Name: "Trailer", Value: "X-Sum"}}}))
			_, err := io.WriteString(w, "body")
			must(err)
			must(w.Finish(fixtures.Header{{Name: "X-Sum", Value: "42"}, {Name: "X-Late", Value: "yes"}}))
		case "/inform":
			must(w.Inform(103, fixtures.Header{{Name: "Link", Value: "</a.css>"}}))
			must(w.Inform(102, nil))
			text(200, "informed")
		case "/204":
			must(w.WriteHead(&wire.Head{Status: 204, Length: 3}))
			_, err := io.WriteString(w, "abc")
			must(err)
			must(w.Finish(nil))
		case "/ignore": // answers without reading the body
			text(200, "ignored")
		case "/afterwards": // answers, reads the body, and tells of it in the log
			text(200, "answered")
			body, err := io.ReadAll(r.Body)
			t.Logf("afterwards: %q, %v", body, err)
			if string(body) != "late and the end" {
				t.Errorf("the body read after the answer = %q, %v, want it whole", body, err)
			}
		case "/reset":
			var code uint32
			fmt.Sscan(query, &code)
			must(w.Break(wire.Break{Kind: wire.Reset, Code: code}))
		case "/goaway":
			must(w.Break(wire.Break{Kind: wire.GoAway, Code: 11}))
		case "/abort":
			must(w.WriteHead(&wire.Head{Status: 200, Length: 10}))
			_, err := io.WriteString(w, "abc")
			must(err)
		case "/close":
			must(w.WriteHead(&wire.Head{Status: 200, Length: 10}))
			must(w.Break(wire.Break{Kind: wire.Close}))
		case "/raw":
			must(w.Break(wire.Break{Kind: wire.Raw, Bytes: []byte("\x00\x00\x01\x06\x00\x00\x00\x00\x00!")}))
		case "/short":
			must(w.WriteHead(&wire.Head{Status: 200, Length: 10}))
			_, err := io.WriteString(w, "abc")
			must(err)
			if err := w.Finish(nil); err == nil {
				t.Error("Finish with 3 of 10 bytes = nil, want an error")
			}
		case "/hijack":
			if _, err := w.Hijack(); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("Hijack = %v, want ErrUnsupported", err)
			}
			text(200, "kept")
		default:
			text(404, "no such path")
		}
	})
}

// patternBlock repeats every 2048 bytes, so blocks of it join without a seam.
var patternBlock = func() []byte {
	b := make([]byte, 32<<10)
	for i := range b {
		b[i] = byte(i * 31 >> 3)
	}
	return b
}()

// pattern writes size bytes that tell where they belong.
func pattern(w io.Writer, size int) error {
	for at := 0; at < size; {
		n, err := w.Write(patternBlock[:min(len(patternBlock), size-at)])
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}

// checkPattern reads r to its end and returns how many bytes were right.
func checkPattern(r io.Reader) (int, error) {
	buf := make([]byte, 16<<10)
	at := 0
	for {
		n, err := r.Read(buf)
		if from := at % 2048; !bytes.Equal(buf[:n], patternBlock[from:from+n]) {
			return at, fmt.Errorf("wrong bytes behind byte %d", at)
		}
		if at += n; err == io.EOF {
			return at, nil
		} else if err != nil {
			return at, err
		}
	}
}

// code is the HTTP/2 error code in err, -1 where there is none.
func code(err error) int {
	var se xhttp2.StreamError
	var ga xhttp2.GoAwayError
	switch {
	case errors.As(err, &se):
		return int(se.Code)
	case errors.As(err, &ga):
		return int(ga.ErrCode)
	}
	return -1
}

package http1

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/sock"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen serves s on loopback until the test ends and returns its address.
func listen(t testing.TB, s *Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			// As doors do it: only so is a connection served within a read of it.
			wg.Go(func() { _ = s.ServeConn(context.Background(), sock.Wrap(nc), &wire.Conn{}) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.Abort()
		wg.Wait()
	})
	return l.Addr().String()
}

// pair returns the two ends of a TCP connection. The near one is closed with the test.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close() })
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// talk sends raw to s on a TCP connection, half-closes, and returns all that
// comes back, once the server is done with the connection.
func talk(t *testing.T, s *Server, raw string) string {
	t.Helper()
	nc, far := pair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.ServeConn(context.Background(), sock.Wrap(far), &wire.Conn{})
	}()
	_, _ = io.WriteString(nc, raw) // a server that refuses may not read it all
	_ = nc.(*net.TCPConn).CloseWrite()
	back, _ := io.ReadAll(nc)
	_ = nc.Close()
	<-done
	return string(back)
}

// answer is a handler that answers with a head and a body in pieces.
func answer(h wire.Head, pieces ...string) wire.HandlerFunc {
	return func(_ context.Context, w wire.ResponseWriter, r *wire.Request) {
		head := h
		_ = w.WriteHead(&head)
		for _, p := range pieces {
			_, _ = w.Write([]byte(p))
		}
		_ = w.Finish(nil)
	}
}

// echo answers with the request's body and its trailer.
func echo(_ context.Context, w wire.ResponseWriter, r *wire.Request) {
	var body []byte
	var trailer fixtures.Header
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			_ = w.Break(wire.Break{Kind: wire.Abort})
			return
		}
		if r.Trailer != nil {
			trailer = r.Trailer()
		}
	}
	_ = w.WriteHead(&wire.Head{Status: 200, Length: int64(len(body)), Chunked: r.Chunked})
	_, _ = w.Write(body)
	_ = w.Finish(trailer)
}

func readResponse(t *testing.T, r *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("ReadResponse: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	return resp, string(body)
}

func header(pairs ...string) fixtures.Header {
	var h fixtures.Header
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// addrs gives test connections their addresses and an end.
type addrs struct{}

func (addrs) RemoteAddr() net.Addr            { return &net.TCPAddr{} }
func (addrs) Close() error                    { return nil }
func (addrs) SetReadDeadline(time.Time) error { return nil }

package http1

import (
	"bufio"
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
	"syscall"
	"testing"

	"github.com/understudy-proxy/understudy/proxy/wire"
)

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// What stands on the wire, byte for byte.
func TestAnswerBytes(t *testing.T) {
	h := header("x-One", "1", "Content-LENGTH", "5", "X-two", "2")
	for _, c := range []struct {
		name, req string
		h         wire.Handler
		want      string
	}{
		{"fields keep case and place", get, answer(wire.Head{Status: 200, Header: h, Length: 5}, "he", "llo"),
			"HTTP/1.1 200 OK\r\nx-One: 1\r\nContent-LENGTH: 5\r\nX-two: 2\r\n\r\nhello"},
		{"length added", get, answer(wire.Head{Status: 200, Length: 2}, "ok"),
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{"wrong length put right", get, answer(wire.Head{Status: 200, Header: header("Content-Length", "9", "A", "b"), Length: 2}, "ok"),
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\n\r\nok"},
		{"unknown length", get, answer(wire.Head{Status: 200, Length: -1}, "he", "", "llo"),
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"},
		{"chunked on demand, in place", get,
			answer(wire.Head{Status: 200, Header: header("Transfer-Encoding", "chunked", "Content-Length", "2", "A", "b"), Length: 2, Chunked: true}, "ok"),
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
		{"reason", get, answer(wire.Head{Status: 200, Reason: "Fine by me"}), "HTTP/1.1 200 Fine by me\r\nContent-Length: 0\r\n\r\n"},
		{"exact empty reason", get, answer(wire.Head{Status: 200, Exact: true}), "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"},
		{"unknown status", get, answer(wire.Head{Status: 299}), "HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n"},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", answer(wire.Head{Status: 200, Header: h, Length: 5}, "hello"),
			"HTTP/1.1 200 OK\r\nx-One: 1\r\nContent-LENGTH: 5\r\nX-two: 2\r\n\r\n"},
		{"HEAD, chunked", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", answer(wire.Head{Status: 200, Header: header("transfer-encoding", "chunked"), Length: -1}, "hello"),
			"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"},
		{"204", get, answer(wire.Head{Status: 204}, "x"), "HTTP/1.1 204 No Content\r\n\r\n"},
		{"304 with length", get, answer(wire.Head{Status: 304, Header: header("Content-Length", "7")}, "x"),
			"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"},
		{"hop-by-hop out", get, answer(wire.Head{Status: 200, Length: 0,
			Header: header("Connection", "close, X", "Proxy-Connection", "keep-alive", "Upgrade", "h2c", "Keep-Alive", "timeout=5", "B", "c")}),
			"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nB: c\r\nContent-Length: 0\r\n\r\n"},
		{"keep-alive agrees", get, answer(wire.Head{Status: 200, Header: header("Connection", "keep-alive")}),
			"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"},
		{"client closes", "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n" + get, answer(wire.Head{Status: 200, Header: header("connection", "keep-alive")}),
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
		{"1.0", "GET / HTTP/1.0\r\n\r\n" + get, answer(wire.Head{Status: 200, Length: 2}, "ok"),
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"},
		{"1.0, unknown length", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", answer(wire.Head{Status: 200, Length: -1}, "he", "llo"),
			"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"},
		{"1.0, kept", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n", answer(wire.Head{Status: 200, Length: 2}, "ok"),
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok" +
				"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"},
		{"1.0, chunked on demand", "GET / HTTP/1.0\r\n\r\n", answer(wire.Head{Status: 200, Length: 2, Chunked: true}, "ok"),
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"},
		{"pipelined", get + get, answer(wire.Head{Status: 200, Length: 1}, "x"),
			"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"},
		{"interim", get, wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
			_ = w.Inform(103, header("Link", "</a>"))
			_ = w.WriteHead(&wire.Head{Status: 200})
			_ = w.Finish(nil)
		}), "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"no interim for 1.0", "GET / HTTP/1.0\r\n\r\n", wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
			_ = w.Inform(103, header("Link", "</a>"))
			_ = w.WriteHead(&wire.Head{Status: 200})
			_ = w.Finish(nil)
		}), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
		{"trailer", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nx-Sum: 7\r\n\r\n",
			wire.HandlerFunc(echo), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-Sum: 7\r\n\r\n"},
		{"raw", get, wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
			_ = w.Break(wire.Break{Kind: wire.Raw, Bytes: []byte("HTTP/9 what\n")})
		}), "HTTP/9 what\n"},
		{"abort after head", get, wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
			_ = w.WriteHead(&wire.Head{Status: 200, Length: 5})
			_, _ = w.Write([]byte("he"))
		}), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"},
		{"too little", get, wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
			_ = w.WriteHead(&wire.Head{Status: 200, Length: 5})
			if err := w.Finish(nil); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("Finish of a body cut short: %v", err)
			}
		}), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
		{"silent handler", get + get, wire.HandlerFunc(func(context.Context, wire.ResponseWriter, *wire.Request) {}), ""},
		{"body left unread", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + get, answer(wire.Head{Status: 200}),
			strings.Repeat("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 2)},
		{"large body left unread", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("x", 300000) + get,
			answer(wire.Head{Status: 200}), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"Expect, never read", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", answer(wire.Head{Status: 413}),
			"HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
		{"CONNECT", "CONNECT a:1 HTTP/1.1\r\n\r\nping", wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
			_ = w.WriteHead(&wire.Head{Status: 200, Reason: "Go", Header: header("Content-Length", "3")})
			nc, err := w.Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			_, _ = io.Copy(nc, nc)
		}), "HTTP/1.1 200 Go\r\n\r\nping"},
		{"upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
			_ = w.WriteHead(&wire.Head{Status: 101, Header: header("Connection", "Upgrade", "Upgrade", "x")})
			nc, _ := w.Hijack()
			_, _ = nc.Write([]byte("!"))
			_ = nc.Close()
		}), "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n!"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := talk(t, &Server{Handler: c.h}, c.req); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestHeadRefusesInjection(t *testing.T) {
	for _, h := range []wire.Head{
		{Status: 200, Header: header("A", "b\r\nC: d")},
		{Status: 200, Header: header("A\r\nB", "c")},
		{Status: 200, Header: header("A: b", "c")},
		{Status: 200, Header: header("", "c")},
		{Status: 200, Header: header("A", "\x00")},
		{Status: 200, Reason: "OK\nA: b"},
		{Status: 99}, {Status: 1000}, {Status: 102},
	} {
		var first error
		s := &Server{Handler: wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
			first = w.WriteHead(&h)
			_ = w.WriteHead(&wire.Head{Status: 500})
			_ = w.Finish(nil)
		})}
		back := talk(t, s, get)
		if first == nil || !strings.HasPrefix(back, "HTTP/1.1 500 ") {
			t.Errorf("WriteHead(%+v) = %v, then %q", h, first, back)
		}
	}
}

func TestNetHTTPClient(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	s := &Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
		if r.Target == "/large" {
			_ = w.WriteHead(&wire.Head{Status: 200, Length: -1, Header: header("Trailer", "X-End")})
			for i := 0; i < len(large); i += 64_000 {
				_, _ = w.Write(large[i:min(i+64_000, len(large))])
			}
			_ = w.Finish(header("X-End", "yes"))
			return
		}
		echo(ctx, w, r)
	})}
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			url, client := "http://"+listen(t, s), &http.Client{Transport: &http.Transport{}}
			if secure {
				url, client = listenTLS(t, s)
			}
			defer client.CloseIdleConnections()
			for _, n := range []int{0, 10, 100_000} {
				for _, known := range []bool{true, false} {
					body := bytes.Repeat([]byte("x"), n)
					var in io.Reader = bytes.NewReader(body)
					if !known {
						in = io.MultiReader(in)
					}
					req, _ := http.NewRequest("POST", url, in)
					req.Header.Set("Expect", "100-continue")
					resp, err := client.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil || !bytes.Equal(got, body) {
						t.Errorf("echo of %d bytes (known %v): %d, %v", n, known, len(got), err)
					}
				}
			}
			resp, err := client.Get(url + "/large")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, large) || resp.Trailer.Get("X-End") != "yes" {
				t.Errorf("large: %d bytes, %v, trailer %v", len(got), err, resp.Trailer)
			}
		})
		s = &Server{Handler: s.Handler} // the first was aborted with its test
	}
}

// listenTLS serves s behind TLS with httptest's certificate.
func listenTLS(t *testing.T, s *Server) (url string, client *http.Client) {
	ts := httptest.NewUnstartedServer(nil)
	ts.StartTLS()
	client = ts.Client()
	conf := ts.TLS.Clone()
	conf.NextProtos = nil
	ts.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	served := make(chan struct{}, 100)
	n := 0
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			n++
			go func() {
				_ = s.ServeConn(context.Background(), nc, &wire.Conn{})
				served <- struct{}{}
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		s.Abort()
		for range n {
			<-served
		}
	})
	return "https://" + l.Addr().String(), client
}

// One write a small answer, and large bodies whole.
func TestWritesAreGathered(t *testing.T) {
	large := strings.Repeat("x", 100_000)
	nc := &scripted{in: strings.NewReader(get)}
	counted := &countingConn{scripted: nc}
	s := &Server{Handler: answer(wire.Head{Status: 200, Length: -1}, "a", "b", strings.Repeat("c", 1000))}
	_ = s.ServeConn(context.Background(), counted, &wire.Conn{})
	if counted.writes != 1 {
		t.Errorf("a small answer took %d writes, want 1", counted.writes)
	}
	counted = &countingConn{scripted: &scripted{in: strings.NewReader(get)}}
	s = &Server{Handler: answer(wire.Head{Status: 200, Length: 100_000}, large)}
	_ = s.ServeConn(context.Background(), counted, &wire.Conn{})
	if counted.writes > 2 {
		t.Errorf("one large write took %d, want at most 2", counted.writes)
	}
	if out := counted.out.String(); !strings.HasSuffix(out, "\r\n\r\n"+large) {
		t.Errorf("large answer is %d bytes", len(out))
	}
}

type countingConn struct {
	*scripted
	addrs
	writes int
}

func (c *countingConn) Write(p []byte) (int, error) { c.writes++; return c.scripted.Write(p) }

func TestReset(t *testing.T) {
	for name, h := range map[string]wire.HandlerFunc{
		"Reset": func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
			_ = w.WriteHead(&wire.Head{Status: 200})
			_ = w.Break(wire.Break{Kind: wire.Reset})
		},
		// A close-delimited body must not look complete.
		"Abort of a close-delimited body": func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
			_ = w.WriteHead(&wire.Head{Status: 200, Length: -1})
			_ = w.Break(wire.Break{Kind: wire.Abort})
		},
	} {
		nc, err := net.Dial("tcp", listen(t, &Server{Handler: h}))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(nc, "GET / HTTP/1.0\r\n\r\n")
		_, err = io.ReadAll(nc)
		_ = nc.Close()
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the client saw %v, want a reset", name, err)
		}
	}
}

// A body that another goroutine still reads when the handler returns.
func TestBodyOutlivesHandler(t *testing.T) {
	read := make(chan error, 1)
	s := &Server{Handler: wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, r *wire.Request) {
		begun := make(chan struct{})
		go func() {
			p := make([]byte, 1)
			_, _ = r.Body.Read(p)
			close(begun)
			_, err := io.ReadAll(r.Body)
			read <- err
		}()
		<-begun
		_ = w.WriteHead(&wire.Head{Status: 413})
		_ = w.Finish(nil)
	})}
	nc, err := net.Dial("tcp", listen(t, s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = io.WriteString(nc, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na")
	br := bufio.NewReader(nc)
	if resp, _ := readResponse(t, br, "POST"); resp.StatusCode != 413 {
		t.Errorf("status = %d, want 413", resp.StatusCode)
	}
	if err := <-read; err == nil {
		t.Error("the body gave no error after its handler had returned")
	}
	// The rest of the body is skipped, the connection goes on.
	_, _ = io.WriteString(nc, "bc"+"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy")
	if resp, _ := readResponse(t, br, "POST"); resp.StatusCode != 413 {
		t.Errorf("second status = %d, want 413", resp.StatusCode)
	}
	<-read
}

func TestRequestContextIsAContext(t *testing.T) {
	type key struct{}
	parent := context.WithValue(context.Background(), key{}, "v")
	c := &requestContext{values: context.WithoutCancel(parent)}
	child, cancel := context.WithCancel(c)
	defer cancel()
	if child.Value(key{}) != "v" {
		t.Error("the value is lost")
	}
	stopped := c.AfterFunc(func() { t.Error("ran though it was stopped") })
	if !stopped() || stopped() {
		t.Error("stop must report true once")
	}
	c.cancel()
	<-child.Done()
	if child.Err() != context.Canceled || context.Cause(child) != context.Canceled {
		t.Errorf("child ended with %v, %v", child.Err(), context.Cause(child))
	}
	late := make(chan struct{})
	c.AfterFunc(func() { close(late) })
	<-late
	<-c.Done()
}

var _ wire.ResponseWriter = (*response)(nil)

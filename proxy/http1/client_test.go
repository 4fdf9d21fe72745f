package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/sock"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// upstream accepts connections one after the other and runs script on each.
func upstream(t *testing.T, script func(nc net.Conn, r *bufio.Reader)) *Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		script(nc, bufio.NewReader(nc))
	}()
	c := dial(t, l.Addr().String())
	t.Cleanup(func() {
		_ = l.Close()
		_ = c.Close()
		<-done
	})
	return c
}

func dial(t testing.TB, addr string) *Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return NewConn(sock.Wrap(nc), addr)
}

func readHeadText(r *bufio.Reader) string {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String()
		}
	}
}

func request(method, target string, h fixtures.Header, body string) *wire.Request {
	r := &wire.Request{Proto: "HTTP/1.1", Method: method, Host: "up.test", Target: target, Header: h}
	if body != "" {
		r.Body, r.Length = strings.NewReader(body), int64(len(body))
	}
	return r
}

func TestRequestBytes(t *testing.T) {
	for _, c := range []struct {
		name string
		r    *wire.Request
		want string
	}{
		{"host first where it is missing", request("GET", "/x?y", header("a-B", "c"), ""), "GET /x?y HTTP/1.1\r\nHost: up.test\r\na-B: c\r\n\r\n"},
		{"host in place", request("GET", "/", header("a", "b", "hOst", "me"), ""), "GET / HTTP/1.1\r\na: b\r\nhOst: me\r\n\r\n"},
		{"absolute overrules Host", &wire.Request{Method: "GET", Scheme: "http", Host: "b", Target: "/", Absolute: true, Header: header("Host", "a")},
			"GET http://b/ HTTP/1.1\r\nHost: b\r\n\r\n"},
		{"length in place", request("POST", "/", header("content-length", "2", "Host", "a"), "ok"), "POST / HTTP/1.1\r\ncontent-length: 2\r\nHost: a\r\n\r\nok"},
		{"length 0 stays", request("POST", "/", header("Host", "a", "Content-Length", "0"), ""), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{"connection fields out", request("GET", "/", header("Host", "a", "Connection", "keep-alive", "Keep-Alive", "5", "Proxy-Connection", "x", "Upgrade", "x", "TE", "trailers"), ""),
			"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n"},
		{"upgrade kept", request("GET", "/", header("Host", "a", "Connection", "keep-alive, Upgrade", "Upgrade", "websocket"), ""),
			"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"},
		{"no upgrade in HTTP/1.0", &wire.Request{Proto: "HTTP/1.0", Method: "GET", Host: "a", Target: "/", Header: header("Host", "a", "Connection", "Upgrade", "Upgrade", "x")},
			"GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"chunked without body", &wire.Request{Method: "POST", Host: "a", Target: "/", Chunked: true, Length: -1, Header: header("Transfer-Encoding", "chunked", "Host", "a")},
			"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n0\r\n\r\n"},
	} {
		sink := &countingConn{scripted: &scripted{in: strings.NewReader("HTTP/1.1 204 No Content\r\n\r\n")}}
		resp, err := NewConn(sink, "up:1").RoundTrip(context.Background(), c.r)
		if err != nil || resp.Status != 204 {
			t.Errorf("%s: %+v, %v", c.name, resp, err)
		}
		if got := sink.out.String(); got != c.want || sink.writes != 1 {
			t.Errorf("%s: %d writes\ngot  %q\nwant %q", c.name, sink.writes, got, c.want)
		}
	}
}

func TestResponsesAtTheEdge(t *testing.T) {
	for _, c := range []struct {
		name, raw, method string
		status            int // 0: refused
		reason, body      string
		reusable          bool
	}{
		{"plain", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET", 200, "OK", "ok", true},
		{"no reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", "GET", 200, "", "ok", true},
		{"no space", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "GET", 200, "", "ok", true},
		{"own reason", "HTTP/1.1 404 Not here, sorry\r\nContent-Length: 0\r\n\r\n", "GET", 404, "Not here, sorry", "", true},
		{"until close", "HTTP/1.1 200 OK\r\n\r\nok", "GET", 200, "OK", "ok", false},
		{"1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET", 200, "OK", "ok", false},
		{"1.0 kept", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok", "GET", 200, "OK", "ok", true},
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "GET", 200, "OK", "ok", false},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1 \r\nk\r\n0\r\n\r\n", "GET", 200, "OK", "ok", true},
		{"chunked with length", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "GET", 200, "OK", "ok", false},
		{"same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2, 2\r\n\r\nok", "GET", 200, "OK", "ok", true},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HEAD", 200, "OK", "", true},
		{"204", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", "GET", 204, "No Content", "", true},
		{"304", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", 304, "Not Modified", "", true},
		{"unasked bytes", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP", "GET", 200, "OK", "ok", false},
		{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET", 200, "OK", "", true},
		{"folded", "HTTP/1.1 200 OK\r\nX: a\r\n\t b\r\nContent-Length: 0\r\n\r\n", "GET", 200, "OK", "", true},
		{"not HTTP", "SSH-2.0-x\r\n\r\n", "GET", 0, "", "", false},
		{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "GET", 0, "", "", false},
		{"HTTP/2", "HTTP/2 200 OK\r\n\r\n", "GET", 0, "", "", false},
		{"four digits", "HTTP/1.1 2000 OK\r\n\r\n", "GET", 0, "", "", false},
		{"lengths differ", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "GET", 0, "", "", false},
		{"unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "GET", 0, "", "", false},
		{"space before colon", "HTTP/1.1 200 OK\r\nX : a\r\n\r\n", "GET", 0, "", "", false},
		{"switched unasked", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "GET", 0, "", "", false},
		{"large head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 300<<10) + "\r\n\r\n", "GET", 0, "", "", false},
		{"interim for ever", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 200), "GET", 0, "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			idle := 0
			conn := NewConn(&countingConn{scripted: &scripted{in: strings.NewReader(c.raw)}}, "up:1")
			conn.Idle = func(*Conn) { idle++ }
			resp, err := conn.RoundTrip(context.Background(), request(c.method, "/", nil, ""))
			var ue *wire.UpstreamError
			if c.status == 0 {
				if !errors.As(err, &ue) || ue.Op != "protocol" {
					t.Errorf("RoundTrip = %+v, %v; want a protocol error", resp, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.Status != c.status || resp.Reason != c.reason || string(body) != c.body {
				t.Errorf("got %d %q %q %v, want %d %q %q", resp.Status, resp.Reason, body, err, c.status, c.reason, c.body)
			}
			_ = resp.Body.Close()
			if conn.Reusable() != c.reusable || (idle == 1) != c.reusable {
				t.Errorf("Reusable = %v, Idle called %d times; want %v", conn.Reusable(), idle, c.reusable)
			}
			if c.name == "folded" && resp.Header.Get("x") != "a b" {
				t.Errorf("folded value = %q", resp.Header.Get("x"))
			}
		})
	}
}

func TestCutShort(t *testing.T) {
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n",
	} {
		conn := NewConn(&countingConn{scripted: &scripted{in: strings.NewReader(raw)}}, "up:1")
		resp, err := conn.RoundTrip(context.Background(), request("GET", "/", nil, ""))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if string(body) != "he" || !errors.Is(err, io.ErrUnexpectedEOF) || conn.Reusable() {
			t.Errorf("%q: %q, %v, reusable %v", raw, body, err, conn.Reusable())
		}
	}
}

func TestNetHTTPServer(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Got", r.Trailer.Get("X-Up")+fmt.Sprint(r.TransferEncoding))
		_, _ = w.Write(body)
		w.Header().Set("X-Sum", fmt.Sprint(len(body)))
	})
	mux.HandleFunc("/refuse", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(413) })
	mux.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		w.WriteHeader(200)
	})
	ts := httptest.NewServer(mux)
	defer ts.Close()
	conn := dial(t, ts.Listener.Addr().String())
	defer conn.Close()
	idle := make(chan *Conn, 1)
	conn.Idle = func(c *Conn) { idle <- c }
	ctx := context.Background()

	for _, n := range []int{1, 8 << 10, 100_000, 1_000_000} {
		for _, mode := range []string{"sized", "chunked", "expect"} {
			body := strings.Repeat("y", n)
			r := request("POST", "/echo", nil, body)
			switch mode {
			case "chunked":
				r.Length, r.Chunked = -1, true
				r.Header = header("Trailer", "X-Up")
				r.Trailer = func() fixtures.Header { return header("X-Up", "up") }
			case "expect":
				r.Header = header("Expect", "100-continue")
			}
			resp, err := conn.RoundTrip(ctx, r)
			if err != nil {
				t.Fatalf("%s %d: %v", mode, n, err)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || string(got) != body {
				t.Fatalf("%s %d: %d bytes, %v", mode, n, len(got), err)
			}
			<-idle // the sender may end a moment after the answer
			if want := "up[chunked]"; mode == "chunked" && resp.Header.Get("X-Got") != want {
				t.Errorf("the server got %q, want %q", resp.Header.Get("X-Got"), want)
			}
			if resp.Trailer != nil && resp.Trailer().Get("X-Sum") != fmt.Sprint(n) {
				t.Errorf("%s %d: trailer %v", mode, n, resp.Trailer())
			}
			if resp.Trace.FirstAt.IsZero() || resp.Trace.Reused != (conn.Served() > 1) {
				t.Errorf("trace %+v at response %d", resp.Trace, conn.Served())
			}
		}
	}

	r := request("GET", "/hints", nil, "")
	var informed []int
	r.Inform = func(status int, h fixtures.Header) { informed = append(informed, status) }
	if resp, err := conn.RoundTrip(ctx, r); err != nil || resp.Status != 200 || len(informed) != 1 || informed[0] != 103 {
		t.Errorf("hints: %+v, %v, informed %v", resp, err, informed)
	}
	<-idle

	// A body that is refused: with Expect it is not even begun.
	body := strings.NewReader("never sent")
	r = request("POST", "/refuse", header("Expect", "100-continue"), "x")
	r.Body, r.Length = body, int64(body.Len())
	resp, err := conn.RoundTrip(ctx, r)
	if err != nil || resp.Status != 413 || body.Len() != 10 {
		t.Fatalf("refuse: %+v, %v, %d bytes left", resp, err, body.Len())
	}
	_ = resp.Body.Close()
}

// An answer in the middle of a long upload must come through.
func TestEarlyAnswer(t *testing.T) {
	conn := upstream(t, func(nc net.Conn, r *bufio.Reader) {
		readHeadText(r)
		_, _ = io.WriteString(nc, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")
		_ = nc.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, r)
	})
	pr, pw := io.Pipe()
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for {
			if _, err := pw.Write(make([]byte, 100_000)); err != nil {
				return
			}
		}
	}()
	r := request("POST", "/", nil, "")
	r.Body, r.Length = pr, -1
	resp, err := conn.RoundTrip(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if resp.Status != 413 || string(body) != "no!" || err != nil || !resp.Trace.SentAt.IsZero() {
		t.Errorf("got %d %q %v, sent at %v", resp.Status, body, err, resp.Trace.SentAt)
	}
	_ = resp.Body.Close()
	_ = pr.Close()
	<-fed
}

func TestSwitched(t *testing.T) {
	conn := upstream(t, func(nc net.Conn, r *bufio.Reader) {
		readHeadText(r)
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nahead,")
		_, _ = io.Copy(nc, r)
	})
	resp, err := conn.RoundTrip(context.Background(), request("GET", "/", header("Connection", "upgrade", "Upgrade", "x"), ""))
	if err != nil || resp.Switched == nil {
		t.Fatalf("RoundTrip = %+v, %v", resp, err)
	}
	defer resp.Switched.Close()
	_, _ = io.WriteString(resp.Switched, "echoed")
	_ = resp.Switched.(interface{ CloseWrite() error }).CloseWrite()
	if got, err := io.ReadAll(resp.Switched); string(got) != "ahead,echoed" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if conn.Reusable() {
		t.Error("a connection handed over is reusable")
	}
}

func TestStale(t *testing.T) {
	closed, fresh := make(chan struct{}), make(chan struct{})
	conn := upstream(t, func(nc net.Conn, r *bufio.Reader) {
		readHeadText(r)
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		<-fresh
		_ = nc.Close()
		close(closed)
	})
	if _, err := conn.RoundTrip(context.Background(), request("GET", "/", nil, "")); err != nil {
		t.Fatal(err)
	}
	if conn.Stale() {
		t.Error("a fresh connection is called stale")
	}
	close(fresh)
	<-closed
	if !conn.Stale() {
		t.Error("a closed connection is not called stale")
	}
	_, err := conn.RoundTrip(context.Background(), request("POST", "/", nil, "body"))
	var stale *StaleError
	if !errors.As(err, &stale) || !stale.BodyTaken {
		t.Errorf("RoundTrip on a closed connection = %v, want a StaleError with its body taken", err)
	}
}

// An upstream that ends its stream between two requests and reads on, as a server does
// that lingers, is not waited for for ever, however early the end came.
func TestEndUnheard(t *testing.T) {
	ended := make(chan struct{})
	conn := upstream(t, func(nc net.Conn, r *bufio.Reader) {
		readHeadText(r)
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_ = nc.(*net.TCPConn).CloseWrite()
		close(ended)
		_, _ = io.Copy(io.Discard, r)
	})
	if _, err := conn.RoundTrip(context.Background(), request("GET", "/", nil, "")); err != nil {
		t.Fatal(err)
	}
	<-ended
	// What another connection brings comes after that end, to who waits for both.
	other := upstream(t, func(nc net.Conn, r *bufio.Reader) { _, _ = io.Copy(nc, r) })
	_, _ = io.WriteString(other.nc, "x")
	_, _ = other.nc.Read(make([]byte, 1))
	_ = other.Close()
	_, err := conn.RoundTrip(context.Background(), request("GET", "/", nil, ""))
	if _, ok := errors.AsType[*StaleError](err); !ok {
		t.Errorf("RoundTrip = %v, want a StaleError", err)
	}
}

// The first request on a connection is never stale.
func TestNotStaleWhenFirst(t *testing.T) {
	conn := upstream(t, func(nc net.Conn, r *bufio.Reader) { readHeadText(r) })
	_, err := conn.RoundTrip(context.Background(), request("GET", "/", nil, ""))
	var stale *StaleError
	var ue *wire.UpstreamError
	if errors.As(err, &stale) || !errors.As(err, &ue) || ue.Op != "read" || !errors.Is(err, io.EOF) {
		t.Errorf("RoundTrip = %v, want a plain read error", err)
	}
}

func TestCloseEarly(t *testing.T) {
	for _, c := range []struct {
		body string
		keep bool
	}{
		{"Content-Length: 4\r\n\r\nleft", true},
		{"Transfer-Encoding: chunked\r\n\r\n4\r\nleft\r\n0\r\n\r\n", true},
		{"Content-Length: 9\r\n\r\nleft", false},
		{"Transfer-Encoding: chunked\r\n\r\n4\r\nleft\r\n", false},
	} {
		conn := upstream(t, func(nc net.Conn, r *bufio.Reader) {
			readHeadText(r)
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n"+c.body)
			_, _ = io.Copy(io.Discard, r)
		})
		resp, err := conn.RoundTrip(context.Background(), request("GET", "/", nil, ""))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if conn.Reusable() != c.keep {
			t.Errorf("%q: reusable %v, want %v", c.body, conn.Reusable(), c.keep)
		}
	}
}

// What is there whole can be read without waiting, and its end then lets the
// connection go; what is not is left for Read.
func TestReadHere(t *testing.T) {
	const sized, coded = "Content-Length: 4\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"
	for _, c := range []struct {
		body, here string
		whole      bool
		later      string
	}{
		{sized + "left", "left", true, ""},
		{sized + "le", "", false, "ft"},
		{sized, "", false, "left"},
		{coded + "4\r\nleft\r\n0\r\n\r\n", "left", true, ""},
		{coded + "4\r\nleft\r\n0\r\nA: b\r\n\r\n", "left", true, ""},
		{coded + "2\r\nle\r\n2\r\nft\r\n0\r\n\r\n", "le", false, ""},
		{coded + "4\r\nleft\r\n", "left", false, "0\r\n\r\n"},
		{coded + "4\r\nle", "le", false, "ft\r\n0\r\n\r\n"},
		{coded + "4", "", false, "\r\nleft\r\n0\r\n\r\n"},
		{"Connection: close\r\n\r\nleft", "", false, ""},
	} {
		looked := make(chan struct{})
		conn := upstream(t, func(nc net.Conn, r *bufio.Reader) {
			readHeadText(r)
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n"+c.body)
			<-looked
			_, _ = io.WriteString(nc, c.later)
			if !strings.Contains(c.body, "close") {
				_, _ = io.Copy(io.Discard, r)
			}
		})
		resp, err := conn.RoundTrip(context.Background(), request("GET", "/", nil, ""))
		if err != nil {
			t.Fatal(err)
		}
		here, err := resp.Body.(*responseBody).ReadHere(func(n int) []byte { return make([]byte, n) })
		if string(here) != c.here || (err == io.EOF) != c.whole || conn.Reusable() != c.whole {
			t.Errorf("%q: ReadHere = %q, %v, reusable %v; want %q, whole %v", c.body, here, err, conn.Reusable(), c.here, c.whole)
		}
		close(looked)
		rest, err := io.ReadAll(resp.Body)
		if string(here)+string(rest) != "left" || err != nil {
			t.Errorf("%q: %q, then %q, %v; want left in all", c.body, here, rest, err)
		}
	}
}

func TestContextEndsExchange(t *testing.T) {
	conn := upstream(t, func(nc net.Conn, r *bufio.Reader) {
		readHeadText(r)
		_, _ = io.Copy(io.Discard, r)
	})
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("enough")
	cancel(why)
	_, err := conn.RoundTrip(ctx, request("GET", "/", nil, ""))
	if !errors.Is(err, why) || conn.Reusable() {
		t.Errorf("RoundTrip = %v, reusable %v", err, conn.Reusable())
	}
}

// Both sides of this package, back to back, with a body in both directions at once.
func TestBothSides(t *testing.T) {
	back := listen(t, &Server{Handler: wire.HandlerFunc(echo)})
	front := &Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
		conn := dial(t, back)
		defer conn.Close()
		resp, err := conn.RoundTrip(ctx, r)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		_ = w.WriteHead(&wire.Head{Status: resp.Status, Reason: resp.Reason, Exact: true, Header: resp.Header, Length: resp.Length, Chunked: resp.Chunked})
		p := make([]byte, 32<<10)
		for {
			n, err := resp.Body.Read(p)
			_, _ = w.Write(p[:n])
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
		var trailer fixtures.Header
		if resp.Trailer != nil {
			trailer = resp.Trailer()
		}
		_ = w.Finish(trailer)
	})}
	url := "http://" + listen(t, front)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, n := range []int{0, 5, 50_000, 500_000} {
		for _, known := range []bool{true, false} {
			body := bytes.Repeat([]byte("z"), n)
			var in io.Reader = bytes.NewReader(body)
			if !known {
				in = io.MultiReader(in)
			}
			resp, err := client.Post(url, "text/plain", in)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes (known %v): %d, %v", n, known, len(got), err)
			}
		}
	}
}

// within calls in, where set, when somebody looks for the connection below.
type within struct {
	net.Conn
	in func()
}

func (w *within) NetConn() net.Conn {
	if w.in != nil {
		w.in()
	}
	return w.Conn
}

var errGone = errors.New("gone")

// A connection that is given up takes no request from there on, and of one that comes
// just then nothing was sent.
func TestFailIdle(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	nc := &within{Conn: near}
	conn := NewConn(nc, "shop.test:80")
	asked := 0
	nc.in = func() { // just before the RST
		asked++
		if conn.Reusable() {
			t.Error("it is about to be broken, and is reusable")
		}
	}
	closed := 0
	conn.Closed = func(*Conn) { closed++ }
	conn.Fail(errGone)
	conn.Fail(errGone)
	_ = conn.Close()
	if asked == 0 || closed != 1 {
		t.Errorf("broken %d times, told %d times, want once", asked, closed)
	}
	body := strings.NewReader("body")
	r := request("POST", "/", nil, "")
	r.Body, r.Length = body, 4
	_, err := conn.RoundTrip(t.Context(), r)
	if stale, ok := errors.AsType[*StaleError](err); !ok || !stale.Unsent || stale.BodyTaken || body.Len() != 4 {
		t.Errorf("RoundTrip = %v, want that nothing was sent", err)
	}
}

// Who reads an answer learns why there is no more of it, and that it is not whole.
func TestFailInBody(t *testing.T) {
	for _, head := range []string{"Content-Length: 9\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "\r\nhello"} {
		conn := upstream(t, func(nc net.Conn, r *bufio.Reader) {
			readHeadText(r)
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n"+head)
			_, _ = io.Copy(io.Discard, r)
		})
		res, err := conn.RoundTrip(t.Context(), request("GET", "/", nil, ""))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(res.Body, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		conn.Fail(errGone)
		if _, err := res.Body.Read(make([]byte, 5)); !errors.Is(err, errGone) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: Read = %v, want a body cut short for %v", head, err, errGone)
		}
		_ = res.Body.Close()
	}
}

package http1

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/proxy/wire"
)

// On a TCP connection, whose end the socket tells, a client that leaves is noticed,
// whatever it sent, a reset comes at once, and Abort ends what is under way.
func TestQuick(t *testing.T) {
	const second = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n"
	post := func(body int) string {
		return fmt.Sprintf("POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", body, strings.Repeat("x", body))
	}
	leaves := func(_ *Server, client *net.TCPConn) { _ = client.Close() }
	for name, c := range map[string]struct {
		request string
		read    bool // its body is
		stamped bool
		end     func(s *Server, client *net.TCPConn)
	}{
		"leaves":            {second, false, false, leaves},
		"leaves, stamped":   {second, false, true, leaves},
		"leaves, body read": {post(9), true, false, leaves},
		"leaves, body":      {post(9), false, false, leaves},
		"leaves, long body": {post(4 * inBytes), false, true, leaves},
		"leaves, pipelined": {second + strings.Repeat(get, 1000), false, false, leaves},
		"half-closes":       {second, false, true, func(_ *Server, client *net.TCPConn) { _ = client.CloseWrite() }},
		"resets":            {second, false, true, func(_ *Server, client *net.TCPConn) { _ = client.SetLinger(0); _ = client.Close() }},
		"resets, body read": {post(9), true, true, func(_ *Server, client *net.TCPConn) { _ = client.SetLinger(0); _ = client.Close() }},
		"abort":             {second, false, false, func(s *Server, _ *net.TCPConn) { s.Abort() }},
		"abort, body read":  {post(9), true, false, func(s *Server, _ *net.TCPConn) { s.Abort() }},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS != "linux" && (name == "leaves, long body" || name == "leaves, pipelined") {
				t.Skip("the end behind what fills the buffer is not to be seen here")
			}
			begun, over := make(chan struct{}), make(chan struct{})
			s := &Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
				if r.Target == "/first" {
					if c.stamped {
						w.(*response).c.sock.Stamp()
					}
					_ = w.WriteHead(&wire.Head{Status: 204})
					_ = w.Finish(nil)
					return
				}
				if c.read {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				w.Watch()
				close(begun)
				<-ctx.Done()
				_ = w.Break(wire.Break{Kind: wire.Reset})
				close(over)
			})}
			nc, err := net.Dial("tcp", listen(t, s))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_, _ = io.WriteString(nc, "GET /first HTTP/1.1\r\nHost: a\r\n\r\n"+c.request)
			<-begun
			c.end(s, nc.(*net.TCPConn))
			<-over
			_, _ = io.Copy(io.Discard, nc) // ends
		})
	}
}

// lookOut has w's client looked after at once.
func lookOut(w wire.ResponseWriter) {
	g := &w.(*response).c.watch
	w.Watch()
	g.mu.Lock()
	g.since = g.since.Add(-goneAfter)
	g.mu.Unlock()
	go g.look() // ends at once, or with the request
}

// What came while a request with a body was answered is not lost, though the buffer
// that it is read into still had that body.
func TestQuickAfterBody(t *testing.T) {
	begun, answer := make(chan struct{}), make(chan struct{})
	s := &Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
		if r.Body != nil {
			_, _ = io.Copy(io.Discard, r.Body)
			lookOut(w)
			close(begun)
			<-answer
		}
		_ = w.WriteHead(&wire.Head{Status: 204})
		_ = w.Finish(nil)
	})}
	nc, err := net.Dial("tcp", listen(t, s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	br := bufio.NewReader(nc)
	for _, first := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n" + strings.Repeat("x", 200)} {
		_, _ = io.WriteString(nc, first)
		if first[0] == 'P' {
			<-begun
			_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			close(answer)
			readResponse(t, br, "POST")
		}
		readResponse(t, br, "GET")
	}
}

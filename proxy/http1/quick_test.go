package http1

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/proxy/wire"
)

// On a TCP connection, where requests are served within a read of it, a client that
// leaves is noticed, a reset comes at once, and Abort ends what is under way.
func TestQuick(t *testing.T) {
	for name, end := range map[string]func(s *Server, client *net.TCPConn){
		"leaves": func(_ *Server, client *net.TCPConn) { _ = client.Close() },
		"abort":  func(s *Server, _ *net.TCPConn) { s.Abort() },
	} {
		t.Run(name, func(t *testing.T) {
			begun, over := make(chan struct{}), make(chan struct{})
			s := &Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
				if r.Target == "/first" {
					_ = w.WriteHead(&wire.Head{Status: 204})
					_ = w.Finish(nil)
					return
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
			_, _ = io.WriteString(nc, "GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n")
			<-begun
			end(s, nc.(*net.TCPConn))
			<-over
			_, _ = io.Copy(io.Discard, nc) // ends
		})
	}
}

// What came while a request with a body was answered is not lost, though the buffer
// that it is read into still had that body.
func TestQuickAfterBody(t *testing.T) {
	begun, answer := make(chan struct{}), make(chan struct{})
	s := &Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
		if r.Body != nil {
			_, _ = io.Copy(io.Discard, r.Body)
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

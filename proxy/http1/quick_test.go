package http1

import (
	"context"
	"io"
	"net"
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

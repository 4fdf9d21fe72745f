package demo

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// service is an HTTP server of the tour on a loopback port of its own.
type service struct {
	server *http.Server
	ended  chan error
	addr   string // host:port
}

// serve starts handler; close ends it.
func serve(handler http.Handler) (*service, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &service{
		server: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)},
		ended:  make(chan error, 1), addr: ln.Addr().String(),
	}
	go func() { s.ended <- s.server.Serve(ln) }() // ends with close
	return s, nil
}

// close waits a second for what is under way, then cuts it off. It returns when
// the port is free; it may be called again.
func (s *service) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if errors.Is(s.server.Shutdown(ctx), context.DeadlineExceeded) {
		_ = s.server.Close()
	}
	if err, ok := <-s.ended; ok && err != nil {
		close(s.ended)
	}
}

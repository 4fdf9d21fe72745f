package http2

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	xhttp2 "golang.org/x/net/http2"
)

// The idle clock runs from the end of the last stream.
func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, srv := net.Pipe()
		result := make(chan error)
		go func() {
			result <- (&Server{Handler: scenario(t), IdleTimeout: time.Minute}).ServeConn(context.Background(), srv, nil)
		}()
		start := time.Now()
		r := newRaw(t, cl)
		go func() {
			_, _ = io.WriteString(cl, xhttp2.ClientPreface)
			_ = r.fr.WriteSettings()
			time.Sleep(40 * time.Second)
			r.req(1, true, "/hello")
		}()
		var ended time.Duration
		for {
			f, err := r.next()
			if err != nil {
				break
			}
			if ga, ok := f.(*xhttp2.GoAwayFrame); ok {
				ended = time.Since(start)
				if ga.ErrCode != xhttp2.ErrCodeNo || ga.LastStreamID != 1 {
					t.Errorf("GOAWAY = %v, last %d", ga.ErrCode, ga.LastStreamID)
				}
			}
		}
		if want := 100 * time.Second; ended != want {
			t.Errorf("idle end after %v, want %v", ended, want)
		}
		if err := <-result; err != nil {
			t.Errorf("ServeConn = %v, want nil", err)
		}
	})
}

// A client that says nothing does not hold the connection for ever.
func TestPrefaceTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, srv := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, cl) }()
		start := time.Now()
		err := (&Server{Handler: scenario(t)}).ServeConn(context.Background(), srv, nil)
		if err == nil || time.Since(start) != 10*time.Second {
			t.Errorf("ServeConn = %v after %v, want an error after 10s", err, time.Since(start))
		}
		_ = cl.Close()
	})
}

package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/sock"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// elsewhere calls post in another goroutine, as a clock would.
func elsewhere(post func()) error {
	done := make(chan struct{})
	go func() { // ends at once
		defer close(done)
		post()
	}()
	<-done
	return nil
}

// An answer that goes out at somebody's moment has the bytes of one that goes out at once.
func TestFinishByWritesTheSame(t *testing.T) {
	body := strings.Repeat("x", 1000)
	trailer := fixtures.Header{{Name: "Sum", Value: "1"}}
	for name, c := range map[string]struct {
		request string // its first line, or all
		head    wire.Head
		parts   []string // the last is the last
		trailer fixtures.Header
		taken   bool
	}{
		"length":           {"GET / HTTP/1.1", wire.Head{Status: 200, Length: 1000}, []string{body}, nil, true},
		"length, in parts": {"GET / HTTP/1.1", wire.Head{Status: 200, Length: 1001}, []string{"y", body}, nil, true},
		"chunks":           {"GET / HTTP/1.1", wire.Head{Status: 200, Length: -1}, []string{body}, trailer, true},
		"chunks, no part":  {"GET / HTTP/1.1", wire.Head{Status: 200, Length: -1}, []string{body, ""}, trailer, true},
		"no body":          {"GET / HTTP/1.1", wire.Head{Status: 204}, []string{""}, nil, true},
		"empty":            {"GET / HTTP/1.1", wire.Head{Status: 200}, []string{""}, nil, true},
		"HEAD":             {"HEAD / HTTP/1.1", wire.Head{Status: 200, Length: 1000}, []string{body}, nil, true},
		"until the end":    {"GET / HTTP/1.0", wire.Head{Status: 200, Length: -1}, []string{body}, nil, false},
		"long":             {"GET / HTTP/1.1", wire.Head{Status: 200, Length: outBytes}, []string{strings.Repeat("l", outBytes)}, nil, false},
		"bad trailer":      {"GET / HTTP/1.1", wire.Head{Status: 200, Length: -1}, []string{body}, fixtures.Header{{Name: "Sum", Value: "1\r\n"}}, false},
		"too short":        {"GET / HTTP/1.1", wire.Head{Status: 200, Length: 1001}, []string{body}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{Handler: wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, r *wire.Request) {
				head := c.head
				_ = w.WriteHead(&head)
				last := len(c.parts) - 1
				for _, p := range c.parts[:last] {
					_, _ = w.Write([]byte(p))
				}
				if r.Target == "/at" {
					taken, err := w.(wire.Punctual).FinishBy([]byte(c.parts[last]), c.trailer, elsewhere)
					if taken != c.taken || err != nil {
						t.Errorf("FinishBy = %v, %v, want %v", taken, err, c.taken)
					}
					if taken {
						if err := w.Finish(nil); err == nil {
							t.Error("the answer can be finished twice")
						}
						return
					}
				}
				_, _ = w.Write([]byte(c.parts[last]))
				_ = w.Finish(c.trailer) // fails in some
			})}
			addr := listen(t, s)
			ask := func(target string) string {
				nc, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				// Twice: the second in the read that brought the first.
				line := strings.Replace(c.request, " / ", " "+target+" ", 1) + "\r\nHost: a\r\n"
				_, _ = io.WriteString(nc, line+"\r\n"+line+"Connection: close\r\n\r\n")
				got, _ := io.ReadAll(nc) // a broken answer ends in an error
				return string(got)
			}
			if now, at := ask("/"), ask("/at"); now != at {
				t.Errorf("at a moment %q,\nat once %q", at, now)
			}
		})
	}
}

// What the kernel does not take at the moment follows.
func TestFinishByToAFullSocket(t *testing.T) {
	const size, requests = 15_000, 1500 // more than the kernel keeps for the two
	full := make(chan struct{})
	filled := sync.OnceFunc(func() { close(full) })
	s := &Server{Handler: wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
		_ = w.WriteHead(&wire.Head{Status: 200, Length: size})
		out := &w.(*response).c.out
		taken, err := w.(wire.Punctual).FinishBy([]byte(strings.Repeat("x", size)), nil, func(post func()) error {
			_ = elsewhere(post)
			if out.posted < len(out.buf) {
				filled()
			}
			return nil
		})
		if !taken || err != nil {
			t.Errorf("FinishBy = %v, %v, want true", taken, err)
		}
	})}
	nc, err := net.Dial("tcp", listen(t, s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	go func() { // ends when all is written, or with nc
		_, _ = io.WriteString(nc, strings.Repeat(get, requests))
	}()
	<-full
	br := bufio.NewReader(nc)
	for range requests {
		if _, got := readResponse(t, br, "GET"); len(got) != size {
			t.Fatalf("an answer of %d bytes, want %d", len(got), size)
		}
	}
}

// Where nobody waits for the moment any more nothing is sent.
func TestFinishByGivenUp(t *testing.T) {
	gone := errors.New("gone")
	s := &Server{Handler: wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
		_ = w.WriteHead(&wire.Head{Status: 200, Length: 1})
		taken, err := w.(wire.Punctual).FinishBy([]byte("x"), nil, func(func()) error { return gone })
		if !taken || !errors.Is(err, gone) {
			t.Errorf("FinishBy = %v, %v, want true, %v", taken, err, gone)
		}
	})}
	nc, err := net.Dial("tcp", listen(t, s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = io.WriteString(nc, get)
	if got, err := io.ReadAll(nc); err != nil || len(got) > 0 {
		t.Errorf("the client got %q, %v, want the end", got, err)
	}
}

// A head that was made before the drain began and goes out after it says that the
// connection ends, whichever way it goes out; one that went out before does not.
func TestDrainWhileHeld(t *testing.T) {
	const kept = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n"
	keep := header("Connection", "keep-alive", "Keep-Alive", "timeout=5")
	for name, c := range map[string]struct {
		request string // its first line
		head    wire.Head
		then    func(w wire.ResponseWriter, drain func()) error // once the head was made
		want    string
	}{
		"by its moment": {"GET / HTTP/1.1", wire.Head{Status: 200, Length: 4}, func(w wire.ResponseWriter, drain func()) error {
			_, err := w.(wire.Punctual).FinishBy([]byte("body"), nil, func(post func()) error { drain(); return elsewhere(post) })
			return err
		}, kept + "Connection: close\r\n\r\nbody"},
		"at once": {"GET / HTTP/1.1", wire.Head{Status: 200, Length: 4, Header: keep}, func(w wire.ResponseWriter, drain func()) error {
			drain()
			_, _ = w.Write([]byte("body"))
			return w.Finish(nil)
		}, kept + "Connection: close\r\n\r\nbody"},
		"a part before": {"GET / HTTP/1.1", wire.Head{Status: 200, Length: -1}, func(w wire.ResponseWriter, drain func()) error {
			_, _ = w.Write([]byte("bo"))
			drain()
			_, _ = w.Write([]byte("dy"))
			return w.Finish(nil)
		}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"},
		"flushed": {"GET / HTTP/1.1", wire.Head{Status: 200, Length: 4}, func(w wire.ResponseWriter, drain func()) error {
			drain()
			_ = w.Flush()
			_, _ = w.Write([]byte("body"))
			return w.Finish(nil)
		}, kept + "Connection: close\r\n\r\nbody"},
		"flushed before": {"GET / HTTP/1.1", wire.Head{Status: 200, Length: 4}, func(w wire.ResponseWriter, drain func()) error {
			_ = w.Flush()
			drain()
			_, _ = w.Write([]byte("body"))
			return w.Finish(nil)
		}, kept + "\r\nbody"},
		"1.0": {"GET / HTTP/1.0\r\nConnection: keep-alive", wire.Head{Status: 200, Length: 4}, func(w wire.ResponseWriter, drain func()) error {
			_, err := w.(wire.Punctual).FinishBy([]byte("body"), nil, func(post func()) error { drain(); return elsewhere(post) })
			return err
		}, kept + "Connection: close\r\n\r\nbody"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, drain := context.WithCancel(t.Context())
			s := &Server{IdleTimeout: 5 * time.Second}
			s.Handler = wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
				head := c.head
				_ = w.WriteHead(&head)
				if err := c.then(w, func() {
					drain()
					for conn := w.(*response).c; !conn.isDraining(); runtime.Gosched() {
					}
				}); err != nil {
					t.Error(err)
				}
			})
			nc, far := pair(t)
			ended := make(chan error)
			go func() { ended <- s.ServeConn(ctx, sock.Wrap(far), &wire.Conn{}) }() // ends with the answer
			_, _ = io.WriteString(nc, c.request+"\r\nHost: a\r\n\r\n")
			if got, err := io.ReadAll(nc); string(got) != c.want || err != nil {
				t.Errorf("the client got %q, %v,\nwant %q, and the end", got, err, c.want)
			}
			if err := <-ended; err != nil {
				t.Errorf("ServeConn = %v", err)
			}
		})
	}
}

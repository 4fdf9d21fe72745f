package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures"
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

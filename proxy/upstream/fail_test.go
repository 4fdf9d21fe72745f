package upstream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/proxy/wire"
)

// TestFailAtAnyTime gives connections up at whatever they are doing. No request but those
// that may be repeated is acted on twice, and none of the connections is kept.
func TestFailAtAnyTime(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got[r.Method+r.URL.Path]++
		mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(make([]byte, 10<<10))
	}), Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(ln) })
	defer serving.Wait()
	defer srv.Close()
	gone := errors.New("gone")
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			tr := &Transport{UnacknowledgedTimeout: 400 * time.Millisecond}
			defer tr.Close()
			var broken, answered, failed atomic.Int64
			over := make(chan struct{})
			var breaking, asking sync.WaitGroup
			breaking.Go(func() {
				for {
					select {
					case <-over:
						return
					case <-time.After(300 * time.Microsecond):
					}
					for _, h := range tr.all() {
						h.mu.Lock()
						var fail []interface{ Fail(error) }
						for l := range h.lines {
							fail = append(fail, l)
						}
						for _, c := range h.h2 {
							fail = append(fail, c)
						}
						h.mu.Unlock()
						for _, c := range fail {
							c.Fail(gone)
							broken.Add(1)
							break
						}
					}
				}
			})
			for w := range 8 {
				asking.Go(func() {
					for i := range 100 {
						r := request(proto, "POST", ln.Addr().String())
						if r.Target = "/" + proto[5:6] + "/" + strconv.Itoa(w*1000+i); i%2 == 0 {
							r.Method = "GET"
						} else {
							r.Body, r.Length = bytes.NewReader([]byte("body")), 4
						}
						res, err := tr.RoundTrip(t.Context(), r)
						if err == nil {
							_, err = io.Copy(io.Discard, res.Body)
							_ = res.Body.Close()
						}
						if err == nil {
							answered.Add(1)
							continue
						}
						if failed.Add(1); !errors.Is(err, gone) {
							t.Errorf("%s: %v, want %v", r.Method, err, gone)
						}
						if _, ok := errors.AsType[*wire.UpstreamError](err); !ok && res == nil {
							t.Errorf("%s: %v, want an UpstreamError", r.Method, err)
						}
					}
				})
			}
			asking.Wait()
			close(over)
			breaking.Wait()
			t.Logf("%d connections given up, %d requests answered, %d failed", broken.Load(), answered.Load(), failed.Load())
			tr.closeIdle()
			for _, h := range tr.all() {
				h.mu.Lock()
				if len(h.lines)+len(h.idle) > 0 {
					t.Errorf("%d connections in the books, %d idle, want none", len(h.lines), len(h.idle))
				}
				h.mu.Unlock()
			}
		})
	}
	mu.Lock()
	defer mu.Unlock()
	for what, n := range got {
		if n > 1 && what[0] == 'P' {
			t.Errorf("%s was acted on %d times", what, n)
		}
	}
}

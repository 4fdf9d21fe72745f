package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	xhttp2 "golang.org/x/net/http2"
)

// frames calls on with each frame that comes in until it returns false; PINGs are answered.
func frames(nc net.Conn, on func(fr *xhttp2.Framer, f xhttp2.Frame) bool) {
	_, _ = io.ReadFull(nc, make([]byte, len(xhttp2.ClientPreface)))
	fr := xhttp2.NewFramer(nc, nc)
	_ = fr.WriteSettings()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		if f, ok := f.(*xhttp2.PingFrame); ok && !f.IsAck() {
			_ = fr.WritePing(true, f.Data)
		}
		if !on(fr, f) {
			return
		}
	}
}

// speakHTTP2 calls on with the number of each request, from 1, once it has come whole,
// until that returns false.
func speakHTTP2(nc net.Conn, on func(fr *xhttp2.Framer, i int, id uint32) bool) {
	i := 0
	frames(nc, func(fr *xhttp2.Framer, f xhttp2.Frame) bool {
		if !ends(f) {
			return true
		}
		i++
		return on(fr, i, f.Header().StreamID)
	})
}

// ends reports whether f is the last of a request.
func ends(f xhttp2.Frame) bool {
	switch f.(type) {
	case *xhttp2.HeadersFrame, *xhttp2.DataFrame:
		return f.Header().Flags.Has(xhttp2.FlagDataEndStream) // is also that of HEADERS
	}
	return false
}

func answer204(fr *xhttp2.Framer, id uint32) {
	const status204 = 0x89 // HPACK's static table
	_ = fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{status204}, EndStream: true, EndHeaders: true})
}

// What a server says it did not act on is sent again whatever the method, small bodies
// included, and more than once; what is lost without a word, where it may be repeated.
func TestRefusedHTTP2(t *testing.T) {
	for _, c := range []struct {
		name string
		// refuse answers the i-th request of the n-th connection with a refusal, and
		// reports whether it did; on is whether the connection goes on.
		refuse func(n int32, i int, fr *xhttp2.Framer, id uint32) (refused, on bool)
		post   bool // POST, too, is to be served
	}{
		{"GOAWAY on three new connections", func(n int32, _ int, fr *xhttp2.Framer, _ uint32) (bool, bool) {
			if n > 3 {
				return false, true
			}
			_ = fr.WriteGoAway(0, xhttp2.ErrCodeNo, nil)
			return true, false
		}, true},
		{"GOAWAY with an error, for what it did not see", func(n int32, i int, fr *xhttp2.Framer, _ uint32) (bool, bool) {
			if n > 1 || i == 1 {
				return false, true
			}
			_ = fr.WriteGoAway(1, xhttp2.ErrCodeEnhanceYourCalm, nil)
			return true, false
		}, true},
		{"REFUSED_STREAM four times", func(n int32, i int, fr *xhttp2.Framer, id uint32) (bool, bool) {
			if n > 1 || i == 1 || i > 5 {
				return false, true
			}
			_ = fr.WriteRSTStream(id, xhttp2.ErrCodeRefusedStream)
			return true, true
		}, true},
		{"GOAWAY for none, and the end", func(n int32, i int, fr *xhttp2.Framer, _ uint32) (bool, bool) {
			if n > 1 || i == 1 {
				return false, true
			}
			_ = fr.WriteGoAway(1<<31-1, xhttp2.ErrCodeNo, nil)
			return true, false
		}, false},
		{"GOAWAY with an error for all, and the end", func(n int32, i int, fr *xhttp2.Framer, id uint32) (bool, bool) {
			if n > 1 || i == 1 {
				return false, true
			}
			_ = fr.WriteGoAway(id, xhttp2.ErrCodeInternal, nil)
			return true, false
		}, false},
		{"the end without a word", func(n int32, i int, _ *xhttp2.Framer, _ uint32) (bool, bool) {
			return n == 1 && i == 2, n > 1 || i == 1
		}, false},
	} {
		for _, method := range []string{"GET", "PUT body", "POST", "POST body"} {
			var mu sync.Mutex
			served, silent := 0, 0
			addr := listen(t, func(n int32, nc net.Conn) {
				speakHTTP2(nc, func(fr *xhttp2.Framer, i int, id uint32) bool {
					mu.Lock()
					defer mu.Unlock()
					refused, on := c.refuse(n, i, fr, id)
					switch {
					case !refused:
						served++
						answer204(fr, id)
					case !c.post:
						silent++ // may have been acted on
					}
					return on
				})
			})
			tr := &Transport{}
			method, withBody := strings.CutSuffix(method, " body")
			want := 0
			for range 2 {
				r := request(h2, method, addr)
				if withBody {
					r.Body, r.Length = iotest.OneByteReader(strings.NewReader("abc")), 3
				}
				res, err := tr.RoundTrip(context.Background(), r)
				if err == nil {
					_ = res.Body.Close()
					want++
				} else if c.post || method != "POST" {
					t.Errorf("%s: %s (body %v): %v", c.name, method, withBody, err)
				}
			}
			mu.Lock()
			if method == "POST" && (served != want || want+silent != 2) {
				t.Errorf("%s: POST (body %v): %d answered and %d acted on, %d left in silence; want 2 sent once each", c.name, withBody, want, served, silent)
			}
			mu.Unlock()
			_ = tr.Close()
		}
	}
}

// tells calls back when it is read again, and then ends with err.
type tells struct {
	io.Reader
	again func()
	err   error
}

func (b *tells) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		b.again()
		err = b.err
	}
	return n, err
}

// A request whose body fails, or whose client leaves, is sent once: nothing is left to send.
func TestNotSentAgainHTTP2(t *testing.T) {
	broken := errors.New("malformed")
	for name, c := range map[string]struct {
		leaves bool
		want   error
	}{"the body fails": {false, broken}, "the client leaves": {true, context.Canceled}} {
		var heads atomic.Int32
		addr := listen(t, func(_ int32, nc net.Conn) {
			frames(nc, func(fr *xhttp2.Framer, f xhttp2.Frame) bool {
				if _, ok := f.(*xhttp2.HeadersFrame); ok {
					heads.Add(1)
				}
				if ends(f) {
					answer204(fr, f.Header().StreamID)
				}
				return true
			})
		})
		tr := &Transport{}
		fetch(t, tr, request(h2, "GET", addr))
		ctx, cancel := context.WithCancel(t.Context())
		again := func() {}
		if c.leaves {
			again = func() { // and goes on beside who sees it
				cancel()
				for range 1000 {
					runtime.Gosched()
				}
			}
		}
		r := request(h2, "PUT", addr)
		r.Body, r.Length = &tells{strings.NewReader("ab"), again, broken}, 10
		if _, err := tr.RoundTrip(ctx, r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		cancel()
		fetch(t, tr, request(h2, "GET", addr)) // behind whatever was sent
		if n := heads.Load(); n > 3 {
			t.Errorf("%s: %d requests were sent, want 3 at most", name, n)
		}
		_ = tr.Close()
	}
}

// A body that has been read begins anew while all of it is kept.
func TestKeptBody(t *testing.T) {
	for _, size := range []int{0, 1, keptBytes, keptBytes + 1} {
		text := strings.Repeat("x", size)
		b := &keptBody{Reader: iotest.DataErrReader(strings.NewReader(text))}
		part, _ := io.ReadAll(io.LimitReader(b, int64(size/2)))
		if !b.Rewind() {
			t.Errorf("of %d bytes half was read, and is not kept", size)
		}
		got, err := io.ReadAll(b)
		if string(got) != text || err != nil {
			t.Errorf("after %d bytes and a rewind: %d bytes, %v, want %d", len(part), len(got), err, size)
		}
		if again := b.Rewind(); again != (size <= keptBytes) {
			t.Errorf("Rewind after all %d bytes = %v", size, again)
		} else if got, err = io.ReadAll(b); again && (string(got) != text || err != nil) {
			t.Errorf("a second time: %d bytes, %v, want %d", len(got), err, size)
		}
	}
}

// Whether a server speaks HTTP/2 is asked for a bounded time, whatever a handshake may take.
func TestProbeTimeout(t *testing.T) {
	for handshake, want := range map[time.Duration]time.Duration{
		0:                     DefaultTLSHandshakeTimeout,
		time.Second:           time.Second,
		1_000_000 * time.Hour: DefaultTLSHandshakeTimeout,
	} {
		if got := (&Transport{TLSHandshakeTimeout: handshake}).probeTimeout(); got != want {
			t.Errorf("with %v for a handshake: %v, want %v", handshake, got, want)
		}
	}
}

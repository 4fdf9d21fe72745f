package gate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stub is a dial function to a server that answers the n-th request of a
// connection after delay(n).
func stub(delay func(n int) time.Duration) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() { // ends with the connection
			defer theirs.Close()
			r := bufio.NewReader(theirs)
			for n := 0; ; n++ {
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				time.Sleep(delay(n)) // a bubble's clock
				io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		}()
		return ours, nil
	}
}

var plainRequest = []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")

func speakPlain(c net.Conn) (talker, error) { return newClient(c, plainRequest), nil }

func bubbleSleep(at time.Time) { time.Sleep(time.Until(at)) }

func TestClosedLoopCountsWhatTheBlockHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := runLoad(t.Context(), LoadOptions{Connections: 4, Duration: time.Second},
			stub(func(int) time.Duration { return 7 * time.Millisecond }), speakPlain, bubbleSleep)
		if err != nil {
			t.Fatal(err)
		}
		// Answers come at 7, 14, … ms; the block is 100 to 1100 ms: 105 to 1099.
		if r.Requests != 4*143 || r.Errors != 0 || r.Latency.P50 != 7*time.Millisecond || r.Latency.Max != 7*time.Millisecond {
			t.Errorf("result = %+v, want 572 requests of 7ms", r)
		}
		if got := r.Throughput(); got != 572 {
			t.Errorf("throughput = %v, want 572", got)
		}
	})
}

func TestOpenLoopCountsFromTheIntendedStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// One connection, a request every 10 ms, 1 ms each, but one that hangs
		// for 95 ms: the nine behind it waited, and their wait must show.
		r, err := runLoad(t.Context(), LoadOptions{Connections: 1, Duration: time.Second, Rate: 100},
			stub(func(n int) time.Duration {
				if n == 50 {
					return 95 * time.Millisecond
				}
				return time.Millisecond
			}), speakPlain, bubbleSleep)
		if err != nil {
			t.Fatal(err)
		}
		if r.Requests != 100 || r.Latency.P50 != time.Millisecond || r.Latency.Max != 95*time.Millisecond {
			t.Errorf("result = %+v, want 100 requests, p50 1ms, max 95ms", r)
		}
		// 95, 86, 77, … 5, then 1 for the rest: 90 of them.
		if want := (95+86+77+68+59+50+41+32+23+14+5)*time.Millisecond + 89*time.Millisecond; r.Latency.Mean != want/100 {
			t.Errorf("mean = %v, want %v", r.Latency.Mean, want/100)
		}
	})
}

func TestLateClockIsNotTheProxysFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := func(at time.Time) { time.Sleep(time.Until(at) + 3*time.Millisecond) }
		r, err := runLoad(t.Context(), LoadOptions{Connections: 2, Duration: time.Second, Rate: 20},
			stub(func(int) time.Duration { return time.Millisecond }), speakPlain, late)
		if err != nil || r.Latency.Max != time.Millisecond {
			t.Errorf("max = %v (%v), want 1ms", r.Latency.Max, err)
		}
	})
}

func TestLoadGivesUpOnADeadTarget(t *testing.T) {
	dials := 0
	r, err := runLoad(t.Context(), LoadOptions{Connections: 1, Duration: time.Minute},
		func(context.Context) (net.Conn, error) { dials++; return nil, errors.New("refused") }, speakPlain, bubbleSleep)
	if err != nil || r.Errors != maxInARow || dials != maxInARow || r.FirstError != "refused" {
		t.Errorf("result = %+v, %v after %d dials, want %d errors", r, err, dials, maxInARow)
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := runLoad(ctx, LoadOptions{Connections: 2, Duration: time.Hour},
			stub(func(int) time.Duration { return 9 * time.Second }), speakPlain, bubbleSleep)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 50*time.Millisecond {
			t.Errorf("runLoad = %v after %v, want the deadline at 50ms", err, time.Since(start))
		}
		time.Sleep(10 * time.Second) // the stubs notice when they write
	})
}

// pipe is a client whose server says text, in pieces of size bytes.
func pipe(t *testing.T, text string, size int) *client {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	go func() { // ends with the text or with the connection
		defer theirs.Close()
		http.ReadRequest(bufio.NewReader(theirs))
		for rest := []byte(text); len(rest) > 0; {
			n, err := theirs.Write(rest[:min(size, len(rest))])
			if err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	return newClient(ours, plainRequest)
}

func TestClientReadsAnswers(t *testing.T) {
	tests := []struct {
		name, text string
		keep       bool
		want       string // in the error; "" for none
	}{
		{"length", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", true, ""},
		{"empty", "HTTP/1.1 204 No Content\r\n\r\n", true, ""},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: 1\r\n\r\n", true, ""},
		{"interim", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, ""},
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", false, ""},
		{"old", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false, ""},
		{"status", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad", true, "status 502"},
		{"no length", "HTTP/1.1 200 OK\r\n\r\nx", false, "without a length"},
		{"not HTTP", "SSH-2.0-OpenSSH_9.6\r\n", false, "want a status line"},
		{"bad length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", false, "want a length"},
		{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", false, "want a chunk's size"},
		{"torn chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n", false, "want a chunk's end"},
		{"cut short", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", false, "unexpected EOF"},
		{"endless line", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70<<10), false, "longer than 64 KiB"},
	}
	for _, tt := range tests {
		for _, size := range []int{1 << 20, 1, 7} {
			if size < 1<<20 && len(tt.text) > 1<<10 {
				continue
			}
			c := pipe(t, tt.text, size)
			keep, err := c.exchange(0)
			if keep != tt.keep || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s by %d: exchange = %v, %v, want %v, %q", tt.name, size, keep, err, tt.keep, tt.want)
			}
			if err == nil && c.r != c.w {
				t.Errorf("%s by %d: %d bytes left", tt.name, size, c.w-c.r)
			}
		}
	}
}

func TestUpstreamAnswersANetHTTPClient(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	u, err := InProcessUpstream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	for range 2 {
		resp, err := client.Post(u.URL+"/any", "text/plain", strings.NewReader("read and dropped"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || len(body) != 1024 {
			t.Errorf("answer = %d with %d bytes (%v), want 200 with 1024", resp.StatusCode, len(body), err)
		}
	}
	client.CloseIdleConnections()
	if err := u.Stop(); err != nil {
		t.Error(err)
	}
	for _, size := range []int{1, 10, 11, 12, 100} {
		_, body, _ := bytes.Cut(makeAnswers(size).whole, []byte("\r\n\r\n"))
		if len(body) != size {
			t.Errorf("body of %d has %d bytes", size, len(body))
		}
	}
	if err := ServeUpstream(ctx, "256.0.0.1", UpstreamOptions{}); err == nil {
		t.Error("ServeUpstream on a bad address: no error")
	}
}

func FuzzClient(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		// The law: what we take for a whole answer holds the body that net/http sees.
		c := newClient(scripted{bytes.NewReader(answer)}, plainRequest)
		keep, err := c.exchange(0)
		if err != nil || !keep {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
		if err != nil || resp.StatusCode/100 != 2 || resp.Close {
			return // it is stricter, and gives interim answers one by one
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if used := len(answer) - (c.w - c.r); err == nil && (used < len(body) || used > len(answer)) {
			t.Fatalf("exchange used %d of %d bytes, the body alone has %d", used, len(answer), len(body))
		}
	})
}

// scripted is a connection that reads from r and swallows writes.
type scripted struct{ r io.Reader }

func (s scripted) Read(p []byte) (int, error)       { return s.r.Read(p) }
func (s scripted) Write(p []byte) (int, error)      { return len(p), nil }
func (s scripted) Close() error                     { return nil }
func (s scripted) LocalAddr() net.Addr              { return nil }
func (s scripted) RemoteAddr() net.Addr             { return nil }
func (s scripted) SetDeadline(time.Time) error      { return nil }
func (s scripted) SetReadDeadline(time.Time) error  { return nil }
func (s scripted) SetWriteDeadline(time.Time) error { return nil }

func BenchmarkExchange(b *testing.B) {
	u, err := InProcessUpstream(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer u.Stop()
	conn, err := net.Dial("tcp", strings.TrimPrefix(u.URL, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	c := newClient(conn, plainRequest)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.exchange(0); err != nil {
			b.Fatal(err)
		}
	}
}

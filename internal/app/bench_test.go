package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/match"
	"github.com/understudy-proxy/understudy/internal/admin"
	"github.com/understudy-proxy/understudy/internal/telemetry"
	"github.com/understudy-proxy/understudy/proxy"
	"github.com/understudy-proxy/understudy/proxy/http1"
	"github.com/understudy-proxy/understudy/proxy/wire"
	"github.com/understudy-proxy/understudy/recorder"
	"github.com/understudy-proxy/understudy/rules"
)

// loopConn is a client that sends the next request when it has the answer to
// the last, without a kernel in between.
type loopConn struct {
	net.Conn
	requests [][]byte
	rest     []byte // of the request that did not fit
	at, left int
	answered int64
}

func (c *loopConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if c.left == 0 {
			return 0, io.EOF
		}
		c.left--
		c.at = (c.at + 389) % len(c.requests)
		c.rest = c.requests[c.at]
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *loopConn) Write(p []byte) (int, error)      { c.answered++; return len(p), nil }
func (c *loopConn) Close() error                     { return nil }
func (c *loopConn) SetDeadline(time.Time) error      { return nil }
func (c *loopConn) SetReadDeadline(time.Time) error  { return nil }
func (c *loopConn) SetWriteDeadline(time.Time) error { return nil }

// replayPlayer plays n recorded answers of 1 KiB.
func replayPlayer(b *testing.B, n int) *player {
	b.Helper()
	builder, err := match.NewBuilder(match.Settings{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		x := &fixtures.Exchange{
			ID:      uint64(i + 1),
			Request: fixtures.Request{Proto: "HTTP/1.1", Method: "GET", Scheme: "http", Host: "stub.test", Target: fmt.Sprintf("/stub/%d", i), Header: fixtures.Header{{Name: "Host", Value: "stub.test"}}},
			Response: fixtures.Response{
				Proto: "HTTP/1.1", Status: 200, Reason: "OK",
				Header: fixtures.Header{{Name: "Content-Type", Value: "application/json"}, {Name: "Content-Length", Value: "1024"}},
				Body:   fixtures.Body{Bytes: []byte(strings.Repeat("x", 1024)), Size: 1024, Frames: []fixtures.Frame{{At: time.Millisecond, Size: 1024}}},
			},
			Times: fixtures.Times{FirstByte: 900 * time.Microsecond, End: time.Millisecond},
		}
		if err := builder.Add("bench", x, nil, match.Filing{}); err != nil {
			b.Fatal(err)
		}
	}
	played, err := match.NewPlayer(builder.Build(), nil, match.Options{})
	if err != nil {
		b.Fatal(err)
	}
	p := &player{}
	p.now.Store(&cast{decks: []deck{{Player: played}}})
	return p
}

// BenchmarkReplay is all that one replayed exchange costs beside the kernel: HTTP/1.1,
// pipeline, choice, ledger, metrics, live view.
func BenchmarkReplay(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			start := time.Now()
			books := &books{
				ledger:    recorder.NewLedger(0),
				metrics:   telemetry.NewMetrics(telemetry.Options{}),
				exchanges: admin.NewRing[admin.Exchange](1000),
				missed:    admin.NewRing[admin.Miss](200),
			}
			pipeline := proxy.NewPipeline(proxy.Options{
				Observer: books, Responder: replayPlayer(b, n), Start: start,
				Planner: planner{engine: rules.NewEngine(1, nil), start: start},
			})
			info := &wire.Conn{ID: 1, From: "127.0.0.1", Client: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000}}
			server := &http1.Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
				r.Scheme, r.Host = "http", "stub.test"
				pipeline.Serve(ctx, w, r, info)
			})}
			c := &loopConn{left: b.N}
			for i := range min(n, 1000) {
				c.requests = append(c.requests, fmt.Appendf(nil, "GET /stub/%d HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", i*(n/min(n, 1000))))
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := server.ServeConn(context.Background(), c, info); err != nil {
				b.Fatal(err)
			}
			if c.answered != int64(b.N) {
				b.Fatalf("answered %d of %d", c.answered, b.N)
			}
		})
	}
}

package proxy

import (
	"bufio"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures"
)

// BenchmarkExchange is a whole exchange over loopback, engines included: a small
// request, and answers of two sizes. What it allocates is the proxy's: the client and the
// origin allocate nothing.
func BenchmarkExchange(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		b.Run(strconv.Itoa(size), func(b *testing.B) { benchmarkExchange(b, size, nil) })
		b.Run(strconv.Itoa(size)+" recorded", func(b *testing.B) { benchmarkExchange(b, size, nowhere{}) })
	}
}

// nowhere is a Recorder that keeps nothing.
type nowhere struct{}

func (nowhere) Begin(*Exchange) Tape    { return nowhere{} }
func (nowhere) RequestBody([]byte)      {}
func (nowhere) ResponseBody([]byte)     {}
func (nowhere) Done(*fixtures.Exchange) {}

func benchmarkExchange(b *testing.B, size int, rec Recorder) {
	answer := []byte("HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Tue, 01 Jan 2030 00:00:00 GMT\r\nContent-Type: application/json\r\n" +
		"Content-Length: " + strconv.Itoa(size) + "\r\nConnection: keep-alive\r\n\r\n" + strings.Repeat("x", size))
	to := rawOrigin(b, func(nc *net.TCPConn) {
		p := make([]byte, 4<<10)
		for {
			if _, err := nc.Read(p); err != nil {
				return
			}
			if _, err := nc.Write(answer); err != nil {
				return
			}
		}
	})
	g := newRig(b, "http://"+to, func(g *rig) { g.opts.Observer, g.server.Observer, g.opts.Recorder = nil, nil, rec })
	nc := g.dial()
	in := bufio.NewReaderSize(nc, 256<<10)
	ask := []byte("GET /v1/things?page=2 HTTP/1.1\r\nHost: things.test\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	b.ReportAllocs()
	b.SetBytes(int64(size))
	for b.Loop() {
		if _, err := nc.Write(ask); err != nil {
			b.Fatal(err)
		}
		for head := true; head; {
			line, err := in.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			head = len(line) > len("\r\n")
		}
		if _, err := in.Discard(size); err != nil {
			b.Fatal(err)
		}
	}
}

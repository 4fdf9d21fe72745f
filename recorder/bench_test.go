package recorder

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

// The caller's side of a recording: what traffic pays for it.
func BenchmarkTape(b *testing.B) {
	for _, size := range []int{0, 1 << 10, 32 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r, stop := start(b, nowhere{}, Options{})
			piece := make([]byte, min(size, 32<<10))
			x := sample(1)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				t := r.Begin(x)
				for left := size; left > 0; left -= len(piece) {
					t.ResponseBody(piece)
				}
				t.Done(x)
			}
			b.StopTimer()
			if err := stop(); err != nil {
				b.Fatal(err)
			}
			s := r.Stats()
			b.ReportMetric(float64(s.Recorded)/float64(b.N), "kept/op")
		})
	}
}

// All of it to a real disk, with heads as they are: what one recorder can take in.
// The first two are the same body each time, the last is another each time.
func BenchmarkRecord(b *testing.B) {
	long := `{"id":17,"note":"` + strings.Repeat("x", 1000) + `"}`
	dense := `{"id":17,"items":[` + strings.Repeat(`{"sku":"a-1","n":3},`, 50) + `0]}`
	b.Run("long string", func(b *testing.B) { benchmarkRecord(b, func(int) string { return long }) })
	b.Run("dense", func(b *testing.B) { benchmarkRecord(b, func(int) string { return dense }) })
	b.Run("differing", func(b *testing.B) {
		benchmarkRecord(b, func(n int) string { return `{"n":` + strconv.Itoa(n) + `,` + dense[1:] })
	})
}

func benchmarkRecord(b *testing.B, body func(n int) string) {
	r, err := New(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	stop := run(r)
	request := fixtures.Header{{Name: "Host", Value: "127.0.0.1:7811"}, {Name: "User-Agent", Value: "wrk/4.1.0"}, {Name: "Accept", Value: "*/*"}}
	response := fixtures.Header{{Name: "Server", Value: "nginx/1.22.1"}, {Name: "Date", Value: "Thu, 26 Nov 2026 09:00:00 GMT"},
		{Name: "Content-Type", Value: "application/json"}, {Name: "Connection", Value: "keep-alive"}}
	frames := []fixtures.Frame{{At: 123456}}
	x := sample(0)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		for n%64 == 0 && r.Stats().Waiting > 4000 { // never drop: the writer is what is measured
			time.Sleep(100 * time.Microsecond)
		}
		p := body(n)
		x.ID, x.Request.Header, x.Response.Header = 0, request, response
		frames[0].Size = len(p)
		x.Response.Body.Frames = frames
		t := r.Begin(x)
		t.ResponseBody([]byte(p))
		t.Done(x)
	}
	if err := stop(); err != nil {
		b.Fatal(err)
	}
	if s := r.Stats(); len(s.Dropped) > 0 {
		b.Fatalf("dropped %v, want none", s.Dropped)
	}
}

func BenchmarkLedger(b *testing.B) {
	l := NewLedger(0)
	e := Entry{Host: "payments.internal", Protocol: "HTTP/1.1", Source: SourceUpstream, Fired: []string{"slow tail"}, Own: 25 * time.Microsecond,
		Stages: fixtures.OwnTimes{3 * time.Microsecond, time.Microsecond, 9 * time.Microsecond, 5 * time.Microsecond, 7 * time.Microsecond}}
	b.Run("finish", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.Finish(&e)
		}
	})
	b.Run("finish in parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				l.Finish(&e)
			}
		})
	})
	b.Run("connection", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.ConnOpened()
			l.ConnClosed(Connection{Host: "payments.internal", Protocol: "HTTP/1.1", Fate: Captured})
		}
	})
}

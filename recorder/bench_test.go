package recorder

import (
	"fmt"
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

// All of it to a real disk: what one recorder can take in.
func BenchmarkRecord(b *testing.B) {
	r, err := New(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	stop := run(r)
	body := make([]byte, 1024)
	for i := range body {
		body[i] = 'a' + byte(i%26)
	}
	b.ReportAllocs()
	for b.Loop() {
		for r.Stats().Waiting > 4000 { // never drop: the writer is what is measured
			time.Sleep(100 * time.Microsecond)
		}
		record(r, sample(1), "", string(body))
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

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/redact"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// testMany loads a cassette of many exchanges and compares its replay with that of
// one exchange: load time, memory, latency, throughput. UNDERSTUDY_BIG=1 makes it
// 100,000, and measures for longer.
func (s *stage) testMany(t *testing.T) {
	many, rounds, block := 5000, 5, 120*time.Millisecond
	if os.Getenv("UNDERSTUDY_BIG") != "" {
		many, rounds, block = 100_000, 5, 2*time.Second
	}
	counts := []int{1, many}
	acts := make([]*act, len(counts))
	memory := make([]float64, len(counts))
	for i, n := range counts {
		dir := filepath.Join(t.TempDir(), "c")
		writeMany(t, dir, n)
		begin := time.Now()
		acts[i] = s.start(t, "replay", "-f", dir, "--reverse", "127.0.0.1:0=http://api.test", "--timing", "none", "--admin", "off")
		took := time.Since(begin)
		rss, peak := memoryOf(t, acts[i].cmd.Process.Pid)
		memory[i] = rss
		t.Logf("%d exchanges of 1 KiB: serving after %s, RSS %.1f MiB, peak %.1f MiB", n, took.Round(time.Millisecond), rss/(1<<20), peak/(1<<20))
		if took > 30*time.Second {
			t.Errorf("%d exchanges took %s to load", n, took)
		}
	}
	if memory[0] > 0 {
		t.Logf("memory: %.0f bytes an exchange", (memory[1]-memory[0])/float64(many-1))
	}
	// Interleaved rounds: what else the machine does falls on both.
	for _, conns := range []int{1, 16} {
		p50, rate := make([][]float64, 2), make([][]float64, 2)
		for range rounds {
			for i, n := range counts {
				lat, total := hammer(t, strings.TrimPrefix(acts[i].address(t, "reverse", ""), "http://"), n, conns, block)
				p50[i] = append(p50[i], float64(timing.Median(lat))/1e3)
				rate[i] = append(rate[i], float64(total)/block.Seconds())
			}
		}
		one, all := timing.Median(p50[0]), timing.Median(p50[1])
		t.Logf("%d connections: p50 %.1f µs with 1, %.1f µs with %d (%+.1f %%); %.0f requests/s with 1, %.0f with %d (%+.1f %%)", conns,
			one, all, many, 100*(all/one-1), timing.Median(rate[0]), timing.Median(rate[1]), many, 100*(timing.Median(rate[1])/timing.Median(rate[0])-1))
		// A scan would cost a hundred times as much, in the quietest round too.
		if least := slices.Min(p50[1]); least > 3*one {
			t.Errorf("p50 %.1f µs at least with %d exchanges, %.1f µs with one: matching must not depend on their number", least, many, one)
		}
	}
	for _, a := range acts {
		if code := a.stop(t); code != 0 {
			t.Errorf("replay: exit %d, want 0:\n%.2000s", code, a.stderr.String())
		}
	}
}

// writeMany makes a cassette of n exchanges, each with an answer of 1 KiB.
func writeMany(t *testing.T, dir string, n int) {
	t.Helper()
	m := cassette.NewManifest("understudy test", time.Now(), redact.Config{})
	m.State, m.Counts.Exchanges = cassette.StateComplete, uint64(n)
	if err := cassette.Create(dir, m); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, cassette.ExchangesFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, cassette.FileMode)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	var line []byte
	for i := range n {
		body := fmt.Appendf(nil, `{"item": %d, "pad": "`, i)
		body = append(append(body, bytes.Repeat([]byte{'a' + byte(i%26)}, 1024-len(body)-2)...), '"', '}')
		x := fixtures.Exchange{
			ID: uint64(i + 1), At: time.Now(), Client: "127.0.0.1",
			Request: fixtures.Request{Proto: "HTTP/1.1", Method: "GET", Scheme: "http", Host: "api.test", Target: "/item/" + strconv.Itoa(i),
				Header: fixtures.Header{{Name: "Host", Value: "api.test"}, {Name: "User-Agent", Value: "someone/1.0"}, {Name: "Accept", Value: "*/*"}}},
			Response: fixtures.Response{Proto: "HTTP/1.1", Status: 200, Reason: "OK",
				Header: fixtures.Header{{Name: "Content-Type", Value: "application/json"}, {Name: "Content-Length", Value: "1024"}, {Name: "Date", Value: "Fri, 02 Jan 2026 03:04:05 GMT"}},
				Body:   fixtures.Body{Bytes: body, Size: 1024, Frames: []fixtures.Frame{{At: time.Millisecond, Size: 1024}}}},
			Times: fixtures.Times{RequestRead: time.Microsecond, UpstreamSent: 100 * time.Microsecond, FirstByte: time.Millisecond, End: time.Millisecond, InFlight: 1},
		}
		if line, err = cassette.EncodeExchange(line[:0], &x); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(line, []byte("\n")) {
			line = append(line, '\n')
		}
		w.Write(line)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// memoryOf returns a process's resident memory, now and at its peak; 0 where that cannot be read.
func memoryOf(t *testing.T, pid int) (now, peak float64) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Logf("memory cannot be read here: %v", err)
		return 0, 0
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		kib, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "VmRSS:":
			now = kib * 1024
		case "VmHWM:":
			peak = kib * 1024
		}
	}
	return now, peak
}

// hammer asks for items at random over keep-alive connections, each waiting for
// its answer, and returns the latencies and how many answers came.
func hammer(t *testing.T, addr string, items, conns int, d time.Duration) (lat []time.Duration, total int) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	until := time.Now().Add(d)
	for c := range conns {
		all.Go(func() {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			draw := rand.New(rand.NewPCG(uint64(c), 1))
			buf := make([]byte, 4096)
			var own []time.Duration
			for time.Now().Before(until) {
				i := draw.IntN(items)
				begin := time.Now()
				if _, err := fmt.Fprintf(nc, "GET /item/%d HTTP/1.1\r\nHost: api.test\r\n\r\n", i); err != nil {
					t.Error(err)
					return
				}
				if err := readAnswer(nc, buf, i); err != nil {
					t.Error(err)
					return
				}
				own = append(own, time.Since(begin))
			}
			mu.Lock()
			defer mu.Unlock()
			lat = append(lat, own...)
		})
	}
	all.Wait()
	slices.Sort(lat)
	return lat, len(lat)
}

// readAnswer reads one answer with 1 KiB of body, which must be that of item i.
func readAnswer(r io.Reader, buf []byte, i int) error {
	n := 0
	for {
		k, err := r.Read(buf[n:])
		n += k
		if err != nil {
			return fmt.Errorf("read answer %d: %w: %s", i, err, text(buf[:n]))
		}
		head := bytes.Index(buf[:n], []byte("\r\n\r\n"))
		if head < 0 {
			continue
		}
		body := buf[head+4 : n]
		if !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200 ")) || len(body) > 1024 {
			return fmt.Errorf("item %d: got %s", i, text(buf[:n]))
		}
		if len(body) < 1024 {
			continue
		}
		if want := fmt.Sprintf(`{"item": %d,`, i); !bytes.HasPrefix(body, []byte(want)) {
			return fmt.Errorf("item %d: got %s", i, text(body))
		}
		return nil
	}
}

package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// testRhythm quantifies how true a replay is to the recording's times, as a client
// sees them. It asserts only what holds on any machine; docs/evidence.md has the numbers.
func (s *stage) testRhythm(t *testing.T) {
	t.Run("streams", s.testStreams)
	t.Run("latencies", s.testLatencies)
}

// testStreams records streams of events and compares when each one comes.
func (s *stage) testStreams(t *testing.T) {
	tr := s.upstreams(t, "node.test", "httpbin.test")
	dir := filepath.Join(t.TempDir(), "c")
	doors := []string{"--reverse", "127.0.0.1:0=http://node.test", "--reverse", "127.0.0.1:0=http://httpbin.test", "--admin", "off"}
	streams := []struct {
		origin, path string
		end          byte // the last byte of an event
		events       int
	}{
		{"http://node.test", "/sse?n=30&gap=20", '\n', 31},
		{"http://httpbin.test", "/sse?count=20&duration=500ms&delay=30ms", '\n', 20},
		{"http://httpbin.test", "/drip?duration=0.6&numbytes=20&delay=0.05", '*', 20},
	}
	play := func(a *act) [][]time.Duration {
		all := make([][]time.Duration, len(streams))
		for i, st := range streams {
			got, err := arrivals(a.address(t, "reverse", st.origin)+st.path, st.end)
			if err != nil || len(got) != st.events {
				t.Fatalf("%s%s: %d events, %v, want %d", st.origin, st.path, len(got), err, st.events)
			}
			all[i] = got
		}
		return all
	}
	a := s.start(t, append([]string{"record", "-o", dir, "--set", "upstream.connect_to=" + tr.connectTo()}, doors...)...)
	recorded := play(a)
	a.stop(t)
	tr.stop()
	a = s.start(t, append([]string{"replay", "-f", dir}, doors...)...)
	replayed := play(a)
	if code := a.stop(t); code != 0 {
		t.Errorf("replay: exit %d, want 0:\n%s", code, a.stderr.String())
	}
	c, err := cassette.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var frames [][]time.Duration // when each frame came, since the request's last byte
	for x, err := range c.Exchanges() {
		if err != nil {
			t.Fatal(err)
		}
		var at []time.Duration
		for _, f := range x.Response.Body.Frames {
			at = append(at, f.At-x.Times.RequestRead)
		}
		frames = append(frames, at)
	}
	for i, st := range streams {
		var off, late []time.Duration
		for j := range st.events {
			off = append(off, (replayed[i][j] - recorded[i][j]).Abs())
			if len(frames[i]) != st.events {
				continue // two events in one read: only the client's own view is compared
			}
			l := replayed[i][j] - frames[i][j]
			if l < -time.Millisecond {
				t.Errorf("%s: event %d came %s early", st.path, j, -l)
			}
			late = append(late, l)
		}
		whole, was := replayed[i][st.events-1], recorded[i][st.events-1]
		if r := float64(whole) / float64(was); r < 0.9 || r > 1.5 {
			t.Errorf("%s lasted %s in the replay, %s in the recording", st.path, whole, was)
		}
		if !slices.IsSorted(replayed[i]) {
			t.Errorf("%s: events out of order: %v", st.path, replayed[i])
		}
		t.Logf("%s: %d events over %s; |replayed − recorded| %s; late after the recorded instant %s", st.path, st.events, ms(was), spread(off), spread(late))
	}
}

// arrivals returns when each event of a stream came, since the request was sent.
func arrivals(url string, end byte) ([]time.Duration, error) {
	start := time.Now()
	resp, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	var at []time.Duration
	for {
		line, err := r.ReadString(end)
		if err == io.EOF {
			return at, nil
		}
		if err != nil {
			return at, err
		}
		if end != '\n' || line == "\n" { // server-sent events end at an empty line
			at = append(at, time.Since(start))
		}
	}
}

// testLatencies compares the distribution of the times to the first byte.
func (s *stage) testLatencies(t *testing.T) {
	const requests, workers = 300, 4
	draw := rand.New(rand.NewPCG(1, 2))
	delays := make([]time.Duration, requests)
	for i := range delays { // median 20 ms, p99 about 80 ms
		delays[i] = time.Duration(20 * float64(time.Millisecond) * math.Exp(0.6*draw.NormFloat64()))
	}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var i int
		fmt.Sscanf(r.URL.Path, "/op/%d", &i)
		<-time.After(delays[i%requests])
		io.WriteString(w, "done\n")
	}))
	defer up.Close()
	dir := filepath.Join(t.TempDir(), "c")
	play := func(base string) []time.Duration {
		all := make([]time.Duration, requests)
		var wait sync.WaitGroup
		for w := range workers {
			wait.Go(func() {
				for i := w; i < requests; i += workers {
					start := time.Now()
					resp, err := http.Get(fmt.Sprintf("%s/op/%d", base, i))
					if err != nil {
						t.Error(err)
						return
					}
					all[i] = time.Since(start)
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
		wait.Wait()
		return all
	}
	a := s.start(t, "record", "-o", dir, "--reverse", "127.0.0.1:0="+up.URL, "--admin", "off")
	recorded := play(a.address(t, "reverse", up.URL))
	a.stop(t)
	up.CloseClientConnections()
	a = s.start(t, "replay", "-f", dir, "--reverse", "127.0.0.1:0="+up.URL, "--admin", "off")
	replayed := play(a.address(t, "reverse", up.URL))
	if code := a.stop(t); code != 0 {
		t.Errorf("replay: exit %d, want 0:\n%s", code, a.stderr.String())
	}
	halves, ks := timing.KS(recorded[:requests/2], recorded[requests/2:]), timing.KS(recorded, replayed)
	verdict := "within"
	if ks > halves+0.03 {
		verdict = "BEYOND"
	}
	t.Logf("KS(recording, replay) = %.4f, KS(halves of the recording) = %.4f: %s the criterion, halves + 0.03; Wasserstein-1/mean = %.4f",
		ks, halves, verdict, timing.Wasserstein1(recorded, replayed)/mean(recorded))
	r, p := slices.Sorted(slices.Values(recorded)), slices.Sorted(slices.Values(replayed))
	var line strings.Builder
	for _, q := range []float64{.5, .95, .99} {
		x, y := timing.Quantile(r, q), timing.Quantile(p, q)
		fmt.Fprintf(&line, "  p%g %s → %s (%+.2f %%)", q*100, ms(x), ms(y), 100*(float64(y)/float64(x)-1))
	}
	t.Logf("time to first byte, recorded → replayed:%s", line.String())
	// A machine that is busy with other things is late, but never this much.
	if ks > halves+0.15 {
		t.Errorf("KS(recording, replay) = %.3f, want at most %.3f", ks, halves+0.15)
	}
	if x, y := timing.Median(recorded), timing.Median(replayed); y < x*8/10 || y > x*3/2 {
		t.Errorf("median replayed %s, recorded %s", y, x)
	}
}

func mean(all []time.Duration) float64 {
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	return float64(sum) / float64(len(all))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }

// spread is a distribution in few words.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "not comparable"
	}
	slices.Sort(all)
	return fmt.Sprintf("p50 %s, p95 %s, most %s", ms(timing.Quantile(all, .5)), ms(timing.Quantile(all, .95)), ms(all[len(all)-1]))
}

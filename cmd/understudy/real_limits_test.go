package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// tokens is a bucket as many servers have one: a number that grows with time.
type tokens struct {
	rate, burst float64
	mu          sync.Mutex
	left        float64
	at          time.Time
}

func (b *tokens) accept(w http.ResponseWriter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if b.at.IsZero() {
		b.left = b.burst
	} else {
		b.left = min(b.burst, b.left+b.rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.left < 1 {
		w.Header().Set("Retry-After", "1")
		return false
	}
	b.left--
	return true
}

// counted is a window by the clock, which headers tell of.
type counted struct {
	requests int
	seconds  int64
	mu       sync.Mutex
	window   int64
	taken    int
}

func (c *counted) accept(w http.ResponseWriter) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now().Unix() / c.seconds; now != c.window {
		c.window, c.taken = now, 0
	}
	c.taken++
	h := w.Header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(c.requests))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, c.requests-c.taken)))
	h.Set("X-RateLimit-Reset", strconv.FormatInt((c.window+1)*c.seconds, 10))
	return c.taken <= c.requests
}

// limitedServer answers /orders/1 to /orders/20 in 3 ms, or refuses.
func limitedServer(accept func(w http.ResponseWriter) bool) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !accept(w) {
			http.Error(w, "slow down: "+r.URL.Path, http.StatusTooManyRequests)
			return
		}
		<-time.After(3 * time.Millisecond)
		fmt.Fprintln(w, "order", r.URL.Path)
	}))
}

// offer asks each of the bases for the same orders at the same moments, rate a second,
// whatever becomes of them, and counts the answers by status: where the machine stalls, it
// does so for all.
func offer(t *testing.T, rate float64, long time.Duration, seed uint64, bases ...string) []map[int]int {
	t.Helper()
	draw := rand.New(rand.NewPCG(seed, 5))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: patience}
	defer client.CloseIdleConnections()
	statuses := make([]map[int]int, len(bases))
	for i := range statuses {
		statuses[i] = map[int]int{}
	}
	var mu sync.Mutex
	var wait sync.WaitGroup
	start := time.Now()
	for at := time.Duration(0); ; {
		if at += time.Duration(draw.ExpFloat64() / rate * 1e9); at >= long {
			break
		}
		order := 1 + draw.IntN(20)
		time.Sleep(time.Until(start.Add(at)))
		for i, base := range bases {
			wait.Go(func() {
				target := fmt.Sprintf("%s/orders/%d", base, order)
				resp, err := client.Get(target)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if refused := strings.HasPrefix(string(body), "slow down"); err != nil || refused != (resp.StatusCode == http.StatusTooManyRequests) {
					t.Errorf("%s: %d %q, %v", target, resp.StatusCode, body, err)
				}
				mu.Lock()
				defer mu.Unlock()
				statuses[i][resp.StatusCode]++
			})
		}
	}
	wait.Wait()
	return statuses
}

// testLimits records servers that refuse above a rate, under three loads, and compares what a
// replay refuses under a load that was never recorded with what the server does. With
// LIMITS_TABLE set it makes the table of docs/models.md.
func (s *stage) testLimits(t *testing.T) {
	long, loads := 4*time.Second, []float64{110}
	table := os.Getenv("LIMITS_TABLE") != ""
	if table {
		long, loads = 12*time.Second, []float64{75, 110, 250}
	}
	for name, c := range map[string]struct {
		accept func() func(w http.ResponseWriter) bool
		window bool
	}{
		"bucket": {func() func(w http.ResponseWriter) bool { return (&tokens{rate: 60, burst: 30}).accept }, false},
		"window": {func() func(w http.ResponseWriter) bool { return (&counted{requests: 120, seconds: 2}).accept }, true},
	} {
		t.Run(name, func(t *testing.T) {
			if !table {
				t.Parallel()
			}
			up := limitedServer(c.accept())
			defer up.Close()
			dir := filepath.Join(t.TempDir(), "c")
			a := s.start(t, "record", "-o", dir, "--reverse", "127.0.0.1:0="+up.URL, "--admin", "off")
			for i, rate := range []float64{35, 90, 150} {
				offer(t, rate, long, uint64(i), a.address(t, "reverse", up.URL))
			}
			a.stop(t)
			out, errs, code := s.command(t, nil, s.bin, "cassette", "fit", "--json", dir)
			if code != 0 {
				t.Fatalf("fit: exit %d\n%s", code, errs)
			}
			var limit struct {
				Limit, Quality, Why string
				Requests            int
			}
			for line := range strings.Lines(out) {
				if err := json.Unmarshal([]byte(line), &limit); err != nil {
					t.Fatal(err)
				}
				t.Log(line)
			}
			if limit.Quality != "good" && limit.Quality != "warn" || c.window != (limit.Requests == 120) {
				t.Fatalf("found %+v", limit)
			}
			for i, rate := range loads {
				fresh := limitedServer(c.accept())
				bases := []string{fresh.URL}
				names := []string{"the server", "--timing model", "--timing recorded"}
				var runs []*act
				for _, timing := range []string{"model", "recorded"} {
					a = s.start(t, "replay", "-f", dir, "--timing", timing, "--reverse", "127.0.0.1:0="+up.URL, "--admin", "off")
					runs, bases = append(runs, a), append(bases, a.address(t, "reverse", up.URL))
				}
				counts := offer(t, rate, long, uint64(10+i), bases...)
				fresh.Close()
				for _, a := range runs {
					if code := a.stop(t); code != 0 {
						t.Errorf("replay: exit %d, want 0:\n%s", code, a.stderr.String())
					}
				}
				for i, n := range counts {
					t.Logf("%v a second: %s: %.1f a second accepted, %.1f %% refused", rate, names[i], float64(n[200])/long.Seconds(), 100*float64(n[429])/float64(n[200]+n[429]))
				}
				want, got := counts[0], counts[1]
				// Windows by the clock may begin anywhere: one of them more or less.
				tolerance := 0.15 * float64(want[200])
				if c.window {
					tolerance += 120
				}
				if math.Abs(float64(got[200]-want[200])) > tolerance {
					t.Errorf("%v a second: %d accepted, want %d", rate, got[200], want[200])
				}
			}
		})
	}
}

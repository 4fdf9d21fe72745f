package main

import (
	"bytes"
	"fmt"
	"io"
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

	"github.com/understudy-proxy/understudy/fixtures/cassette"
)

// seen is an exchange that a client saw completed.
type seen struct {
	path string
	at   time.Time
}

// partOf is the body for a path: small text, text over the limit of a line, and binary.
func partOf(path string) []byte {
	n, _ := strconv.Atoi(path[strings.LastIndexByte(path, '/')+1:])
	switch {
	case n%50 == 0:
		return bytes.Repeat([]byte(path+"\n"), 30_000)
	case n%10 == 0:
		return append([]byte{0xff, 0}, bytes.Repeat([]byte(path), 2000)...)
	}
	return bytes.Repeat([]byte(path+" "), 1+n%40)
}

// testKill kills recordings at random moments under load. What a client saw completed more than
// a second before is there; nothing is torn; the cassette says what befell it; a
// replay works; and nobody records over it.
func (s *stage) testKill(t *testing.T) {
	kills := 10
	if v := os.Getenv("UNDERSTUDY_KILLS"); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil {
			t.Fatalf("UNDERSTUDY_KILLS: want a number, got %q", v)
		}
	}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data := partOf(r.URL.Path)
		w.Header().Set("Content-Type", "text/plain")
		for len(data) > 0 { // in frames, some of them late
			n := min(len(data), 100_000)
			w.Write(data[:n])
			data = data[n:]
			if len(data) > 0 {
				w.(http.Flusher).Flush()
			}
		}
	}))
	defer up.Close()
	dir := t.TempDir()
	var (
		mu            sync.Mutex
		oldest        time.Duration
		completed, in int
	)
	t.Run("group", func(t *testing.T) {
		slots := make(chan struct{}, 4)
		for i := range kills {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				o, all, there := s.killOne(t, up.URL, filepath.Join(dir, strconv.Itoa(i)))
				mu.Lock()
				defer mu.Unlock()
				oldest, completed, in = max(oldest, o), completed+all, in+there
			})
		}
	})
	t.Logf("%d kills: clients saw %d exchanges completed, %d are in the cassettes; the oldest one missing ended %s before its kill",
		kills, completed, in, oldest.Round(time.Millisecond))
}

// killOne returns how old the oldest completed exchange that is missing was, how many were completed, and
// how many of these are there.
func (s *stage) killOne(t *testing.T, upstream, dir string) (oldest time.Duration, completed, there int) {
	a := s.start(t, "record", "-o", dir, "--reverse", "127.0.0.1:0="+upstream, "--admin", "off")
	base := a.address(t, "reverse", upstream)
	var (
		mu   sync.Mutex
		done []seen
		all  sync.WaitGroup
	)
	for worker := range 3 {
		all.Go(func() { // ends with the process that it asks
			c := &http.Client{Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			for n := worker; ; n += 3 {
				path := fmt.Sprintf("/item/%d", n)
				resp, err := c.Get(base + path)
				if err != nil {
					return
				}
				data, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					return
				}
				if want := partOf(path); !bytes.Equal(data, want) {
					t.Errorf("client got %d bytes of %s, want %d as sent", len(data), path, len(want))
				}
				mu.Lock()
				done = append(done, seen{path, time.Now()})
				mu.Unlock()
			}
		})
	}
	<-time.After(1100*time.Millisecond + rand.N(900*time.Millisecond))
	killed := time.Now()
	a.cmd.Process.Kill()
	all.Wait()
	<-a.ended

	c, err := cassette.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.Manifest.State != cassette.StateRecording || len(c.Warnings) == 0 {
		t.Errorf("state %q, warnings %v, want it to say that it was cut short", c.Manifest.State, c.Warnings)
	}
	have := map[string]bool{}
	for x, err := range c.Exchanges() {
		if err != nil {
			t.Fatal(err)
		}
		if x.Outcome != "" {
			continue
		}
		body, err := c.OpenBody(&x.Response.Body)
		if err != nil {
			t.Fatalf("%s: %v", x.Request.Target, err)
		}
		data, err := io.ReadAll(body)
		body.Close()
		if want := partOf(x.Request.Target); err != nil || !bytes.Equal(data, want) {
			t.Errorf("%s: %d bytes, %v, want %d as sent", x.Request.Target, len(data), err, len(want))
		}
		have[x.Request.Target] = true
	}
	for _, d := range done {
		if have[d.path] {
			there++
			continue
		}
		age := killed.Sub(d.at)
		oldest = max(oldest, age)
		if age > time.Second {
			t.Errorf("%s was completed %s before the kill and is missing", d.path, age)
		}
	}

	// Everyone says it, and the same directory is not recorded over.
	out, errs, code := s.command(t, nil, s.bin, "cassette", "verify", dir)
	if code != 0 || !strings.Contains(out, "cut short") {
		t.Errorf("verify: exit %d, want 0 and \"cut short\":\n%s%s", code, out, errs)
	}
	out, errs, code = s.command(t, nil, s.bin, "record", "-o", dir, "--reverse", "127.0.0.1:0="+upstream)
	if code != 125 || !strings.Contains(errs, "a cassette is there already") || !strings.Contains(errs, dir) {
		t.Errorf("record over it: exit %d, want 125 and the reason:\n%s%s", code, out, errs)
	}
	r := s.start(t, "replay", "-f", dir, "--reverse", "127.0.0.1:0="+upstream, "--timing", "none", "--admin", "off")
	if !strings.Contains(r.stderr.String(), "cut short") {
		t.Errorf("replay does not say that the recording was cut short:\n%s", r.stderr.String())
	}
	base = r.address(t, "reverse", upstream)
	asked := 0
	for path := range have { // any few
		if n, err := fetch(base + path); err != nil || n != len(partOf(path)) {
			t.Errorf("replay of %s: %d bytes, %v, want %d", path, n, err, len(partOf(path)))
		}
		if asked++; asked == 20 {
			break
		}
	}
	if code := r.stop(t); code != 0 {
		t.Errorf("replay: exit %d, want 0:\n%s", code, r.stderr.String())
	}
	return oldest, len(done), there
}

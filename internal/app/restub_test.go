package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/telemetry"
	"github.com/understudy-proxy/understudy/internal/watch"
	"github.com/understudy-proxy/understudy/proxy"
)

// lineWriter hands on what is written, line by line.
type lineWriter chan map[string]any

func (w lineWriter) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		event := map[string]any{}
		if err := json.Unmarshal(line, &event); err != nil {
			return 0, err
		}
		w <- event
	}
	return len(p), nil
}

// playing is what a replay of cassettes needs of a run.
func playing(t testing.TB, events io.Writer, cassettes ...string) *parts {
	t.Helper()
	p := &parts{
		c: &config.Config{Mode: config.ModeReplay, Cassettes: cassettes}, log: zap.NewNop(), events: NewEvents(events, true),
		books: &books{metrics: telemetry.NewMetrics(telemetry.Options{})},
	}
	if err := p.makePlayer(); err != nil {
		t.Fatal(err)
	}
	return p
}

// restubbing plays cassettes and follows their stubs until the test ends.
func restubbing(t testing.TB, cassettes ...string) (*player, func(event string) string) {
	t.Helper()
	events := make(lineWriter, 1000)
	p := playing(t, events, cassettes...)
	w := p.watchStubs()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }() // ended by the clean-up
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	return p.player, func(want string) string {
		t.Helper()
		select {
		case e := <-events:
			if e["event"] != want {
				t.Fatalf("told %v, want %s", e, want)
			}
			return fmt.Sprint(e["error"])
		case <-time.After(60 * time.Second):
			t.Fatalf("nothing was told, want %s", want)
		}
		return ""
	}
}

func asking(path, body string) *proxy.Exchange {
	x := &proxy.Exchange{Exchange: fixtures.Exchange{Request: fixtures.Request{Proto: "HTTP/1.1", Method: "GET", Scheme: "http", Host: "a.test", Target: path}}}
	if body != "" {
		x.Request.Method, x.Request.Body = "POST", fixtures.Body{Bytes: []byte(body), Size: int64(len(body))}
	}
	return x
}

// said is the body of the answer, or why there is none.
func said(p *player, x *proxy.Exchange) string {
	a, err := p.Respond(x)
	if err != nil {
		return err.Error()
	}
	return string(a.Response.Body.Bytes)
}

func one(path, body string) string {
	return fmt.Sprintf("- {name: %s, request: {path: %s}, response: {body: %s}}\n", path[1:], path, body)
}

func saveFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Kubernetes swaps a link; editors leave links to nowhere.
func TestRestubConfigMap(t *testing.T) {
	dir := t.TempDir()
	stubs := filepath.Join(dir, "stubs")
	publish := func(version, body string) {
		saveFile(t, filepath.Join(stubs, version, "a.yaml"), one("/a", body))
		if err := os.Symlink(version, filepath.Join(stubs, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(stubs, "..data_tmp"), filepath.Join(stubs, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("..1", "one")
	for link, to := range map[string]string{"a.yaml": "..data/a.yaml", ".#a.yaml": "me@host.1"} {
		if err := os.Symlink(to, filepath.Join(stubs, link)); err != nil {
			t.Fatal(err)
		}
	}
	p, told := restubbing(t, dir)
	publish("..2", "two")
	told("stubs_live")
	if got := said(p, asking("/a", "")); got != "two" {
		t.Errorf("answered %q, want two", got)
	}
}

// Who truncates, and writes later, is waited for: at first in silence, then with a word.
func TestRestubInTwoSteps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	saveFile(t, path, one("/a", "one"))
	p, told := restubbing(t, path)
	for _, pause := range []time.Duration{50 * time.Millisecond, 400 * time.Millisecond} {
		saveFile(t, path, "")
		timer := time.NewTimer(pause)
		<-timer.C
		if got := said(p, asking("/a", "")); got == "" || strings.Contains(got, "nothing") {
			t.Errorf("answered %q in between, want the old answer", got)
		}
		body := fmt.Sprint("after", pause.Milliseconds())
		saveFile(t, path, one("/a", body))
		if pause > 300*time.Millisecond {
			if got := told("stubs_refused"); !strings.Contains(got, "empty: it held stubs before") {
				t.Errorf("refused with %q", got)
			}
		}
		told("stubs_live")
		if got := said(p, asking("/a", "")); got != body {
			t.Errorf("answered %q, want %s", got, body)
		}
	}
}

// Of cassettes that change at once all are swapped, or, where one is wrong, none.
func TestRestubAllOrNone(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "a.yaml"), filepath.Join(t.TempDir(), "b.yaml")
	saveFile(t, a, one("/a", "one"))
	saveFile(t, b, one("/b", "one"))
	p, told := restubbing(t, a, b)
	saveFile(t, a, one("/a", "two"))
	saveFile(t, b, "- {name: b}\n")
	if got := told("stubs_refused"); !strings.Contains(got, b+":1:") {
		t.Errorf("refused with %q, want the place", got)
	}
	if got := said(p, asking("/a", "")); got != "one" {
		t.Errorf("answered %q beside a broken file, want one", got)
	}
	saveFile(t, b, one("/b", "two"))
	told("stubs_live")
	if got := said(p, asking("/a", "")) + said(p, asking("/b", "")); got != "twotwo" {
		t.Errorf("answered %q, want two from each", got)
	}
}

// A request whose body was not read is answered from the stubs that had no use for it.
func TestRestubBetweenBodyAndAnswer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	saveFile(t, path, one("/a", "old"))
	p, told := restubbing(t, path)
	x := asking("/a", "body")
	if p.NeedsBody(x) {
		t.Error("NeedsBody = true, want false")
	}
	saveFile(t, path, "- {name: a, request: {path: /a, body: body}, response: {body: new}}\n")
	told("stubs_live")
	x.Request.Body.Bytes = nil // it streams
	if got := said(p, x); got != "old" {
		t.Errorf("answered %q, want old", got)
	}
	if got := said(p, asking("/a", "body")); got != "new" {
		t.Errorf("answered %q, want new", got)
	}
}

// No request fails while stubs change again and again.
func TestRestubUnderLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "stubs", "a.yaml")
	saveFile(t, path, one("/a", "0")+one("/b", "0"))
	p, told := restubbing(t, dir)
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() { // ends with stop
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := said(p, asking("/a", "")); len(got) > 2 {
					t.Errorf("answered %q", got)
					return
				}
				runtime.Gosched()
			}
		})
	}
	for i := range 20 {
		saveFile(t, path+".tmp", one("/a", fmt.Sprint(i+1))+one("/b", "0"))
		if err := os.Rename(path+".tmp", path); err != nil {
			t.Fatal(err)
		}
		told("stubs_live")
	}
	close(stop)
	load.Wait()
	if got := said(p, asking("/a", "")); got != "20" {
		t.Errorf("answered %q, want 20", got)
	}
}

// Ports of the loopback are those of the stubs in force.
func TestRestubPorts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	saveFile(t, path, "- {name: a, request: {host: 'localhost:81'}, response: {}}\n")
	p, told := restubbing(t, path)
	saveFile(t, path, "- {name: a, request: {host: 'localhost:82'}, response: {}}\n")
	told("stubs_live")
	if p.mayAnswerOn("81") || !p.mayAnswerOn("82") {
		t.Errorf("answers on 81, 82: %t, %t, want false, true", p.mayAnswerOn("81"), p.mayAnswerOn("82"))
	}
}

// BenchmarkRestub measures from the save to the moment the stubs are live, and what is left
// in the heap: where all of them changed, and where one did.
func BenchmarkRestub(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		for _, changed := range slices.Compact([]int{n, 1}) {
			b.Run(fmt.Sprintf("n=%d/changed=%d", n, changed), func(b *testing.B) {
				path := filepath.Join(b.TempDir(), "a.yaml")
				text := func(body string) string {
					var all strings.Builder
					for i := range n {
						fmt.Fprintf(&all, "- {name: s%d, request: {method: GET, host: api.test, path: /s/%d}, response: {body: %s}}\n", i, i, body)
						if i == changed-1 {
							body = "x"
						}
					}
					return all.String()
				}
				saveFile(b, path, text("x"))
				_, told := restubbing(b, path)
				texts := []string{text("y"), text("z")}
				i := 0
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				for b.Loop() {
					i++
					saveFile(b, path, texts[i%2])
					told("stubs_live")
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(before.HeapAlloc)/(1<<20), "MiB-before")
				b.ReportMetric(float64(after.HeapAlloc)/(1<<20), "MiB-after")
				b.ReportMetric(float64(after.Sys-after.HeapReleased)/(1<<20), "MiB-sys")
			})
		}
	}
}

// A body may be saved after the stub that names it, which was refused for want of it.
func TestRestubBodyLater(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "stubs", "a.yaml")
	saveFile(t, path, one("/a", "one"))
	p, told := restubbing(t, dir)
	saveFile(t, path, "- {name: a, request: {path: /a}, response: {body_file: bodies/a.txt}}\n")
	if got := told("stubs_refused"); !strings.Contains(got, "bodies/a.txt") {
		t.Errorf("refused with %q", got)
	}
	saveFile(t, filepath.Join(dir, "stubs", "bodies", "a.txt"), "two")
	told("stubs_live")
	if got := said(p, asking("/a", "")); got != "two" {
		t.Errorf("answered %q, want two", got)
	}
}

// The end of a run does not wait for stubs to be read, and nothing comes of those that were.
func TestRestubEndsWithTheRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	saveFile(t, path, one("/a", "one")+one("/b", "one"))
	p := playing(t, io.Discard, path)
	now := p.player.now.Load()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	files := []watch.File{{Name: path, Data: []byte(one("/a", "two") + one("/b", "two"))}}
	if _, _, err := p.stubFiles.swap(ctx, files); !errors.Is(err, context.Canceled) || p.player.now.Load() != now {
		t.Errorf("swap at the end = %v, want it to stop", err)
	}
	change, _, err := p.stubFiles.swap(context.Background(), files)
	if err != nil || change.Changed != 2 || said(p.player, asking("/b", "")) != "two" {
		t.Errorf("swap = %+v, %v, want two changes", change, err)
	}
}

// Reading again holds on to no folder, also where bodies are read while they are sent.
func TestRestubKeepsNoFilesOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "stubs", "a.yaml")
	saveFile(t, filepath.Join(dir, "large"), strings.Repeat("x", 2<<20))
	text := func(name string) string {
		return fmt.Sprintf("- {name: %s, request: {path: /a}, response: {body_file: ../large}}\n", name)
	}
	saveFile(t, path, text("a"))
	p, told := restubbing(t, dir)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would close them
	const times = 10
	before := descriptors(t)
	for i := range times {
		saveFile(t, path, text(fmt.Sprint("a", i)))
		told("stubs_live")
	}
	if after := descriptors(t); after >= before+times { // the watcher has some of its own
		t.Errorf("%d files are open, want about %d", after, before)
	}
	a, err := p.Respond(asking("/a", ""))
	if err != nil {
		t.Fatal(err)
	}
	body, err := a.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if n, err := io.Copy(io.Discard, body); n != 2<<20 || err != nil {
		t.Errorf("read %d bytes, %v, want %d", n, err, 2<<20)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	items, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	return len(items)
}

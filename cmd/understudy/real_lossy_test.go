package main

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
)

// testLossy records far more than the recorder may hold. Traffic does not
// wait; what was lost is counted, said, and said again by the replay.
func (s *stage) testLossy(t *testing.T) {
	tr := s.upstreams(t, "httpbin.test")
	dir := filepath.Join(t.TempDir(), "c")
	const origin, clients, each = "http://httpbin.test", 8, 12
	a := s.start(t, "record", "-o", dir, "--reverse", "127.0.0.1:0="+origin, "--set", "upstream.connect_to="+tr.connectTo(),
		"--set", "limits.queue_bytes=64KiB")
	base := a.address(t, "reverse", origin)
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for i := range each {
				if n, err := fetch(fmt.Sprintf("%s/bytes/90000?seed=%d", base, c*each+i+1)); err != nil || n != 90000 {
					t.Errorf("a client got %d bytes, %v, want 90000: a full queue must not touch traffic", n, err)
				}
			}
		})
	}
	all.Wait()
	if code := a.stop(t); code != 0 {
		t.Errorf("record: exit %d, want 0:\n%s", code, a.stderr.String())
	}
	r := a.report(t).Ledger
	lost := 0
	for _, n := range r.Recording.Lost {
		lost += n
	}
	if lost == 0 || r.Recording.Begun != clients*each || r.Recording.Recorded+lost != clients*each {
		t.Errorf("ledger: %+v, want %d begun, some lost, and both together", r.Recording, clients*each)
	}
	c, err := cassette.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if int(c.Manifest.Counts.Dropped) != lost {
		t.Errorf("the manifest counts %d dropped, the ledger %d", c.Manifest.Counts.Dropped, lost)
	}
	if !strings.Contains(a.stderr.String(), "lossy") {
		t.Errorf("record does not say that the recording is lossy:\n%s", a.stderr.String())
	}
	out, errs, code := s.command(t, nil, s.bin, "cassette", "verify", dir)
	if want := fmt.Sprintf("%d exchanges were dropped", lost); code != 0 || !strings.Contains(out, want) {
		t.Errorf("verify: exit %d, %s%s; want 0 and %q", code, out, errs, want)
	}
	a = s.start(t, "replay", "-f", dir, "--reverse", "127.0.0.1:0="+origin)
	a.stop(t) // all that it says is there then
	if said := a.stderr.String(); !strings.Contains(said, fmt.Sprintf("%d exchanges were dropped", lost)) || !strings.Contains(strings.ToLower(said), "warn") {
		t.Errorf("replay of a lossy cassette says:\n%s\nwant a warning with the number", said)
	}
}

// fetch returns the length of what is at url.
func fetch(url string) (int, error) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", resp.Status)
	}
	return len(data), err
}

package main

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var wrkRequests = regexp.MustCompile(`(\d+) requests in`)

// testWrk puts a recording and its replay under load, plain and TLS: every
// answer is the one.
func (s *stage) testWrk(t *testing.T) {
	wrk := need(t, "wrk")[0]
	tr := s.upstreams(t, "nginx.test")
	dir := t.TempDir()
	load := func(t *testing.T, a *act) (requests int) {
		for _, scheme := range []string{"http", "https"} {
			_, port, _ := strings.Cut(strings.TrimPrefix(a.address(t, "reverse", scheme+"://nginx.test"), "http://"), ":")
			out, errs, code := s.command(t, []string{`WANT_BODY={"hello": "world"}`}, wrk, "-t1", "-c8", "-d1s", "-s", helper(t, "wrk.lua"),
				scheme+"://localhost:"+port+"/json")
			m := wrkRequests.FindStringSubmatch(out)
			if code != 0 || m == nil || strings.Contains(out, "MISMATCH") || strings.Contains(out, "Socket errors") {
				t.Fatalf("wrk %s: exit %d:\n%.2000s\n%s", scheme, code, out, errs)
			}
			n, err := strconv.Atoi(m[1])
			if err != nil || n == 0 {
				t.Errorf("wrk %s made %d requests, want some", scheme, n)
			}
			requests += n
		}
		return requests
	}
	doors := []string{"--reverse", "127.0.0.1:0=http://nginx.test", "--reverse", "127.0.0.1:0=https://nginx.test", "--admin", "off"}
	a := s.start(t, append([]string{"record", "-o", filepath.Join(dir, "c"), "--set", "upstream.connect_to=" + tr.connectTo(),
		"--set", "upstream.ca_file=" + s.identity.ca}, doors...)...)
	n := load(t, a)
	if code := a.stop(t); code != 0 {
		t.Errorf("record: exit %d, want 0:\n%s", code, a.stderr.String())
	}
	tr.stop()
	r := a.report(t).Ledger
	lost := 0
	for _, k := range r.Recording.Lost {
		lost += k
	}
	// wrk breaks off what is under way when its time is up, and does not count it.
	if r.Exchanges.Count < n || r.Exchanges.Count > n+16 || r.Recording.Recorded+lost != r.Recording.Begun || r.Recording.Begun != r.Exchanges.Count {
		t.Errorf("ledger: %d exchanges, recording %+v; wrk counted %d", r.Exchanges.Count, r.Recording, n)
	}
	t.Logf("recorded %d exchanges, %d lost", r.Recording.Recorded, lost)
	a = s.start(t, append([]string{"replay", "-f", filepath.Join(dir, "c")}, doors...)...)
	n = load(t, a)
	if code := a.stop(t); code != 0 {
		t.Errorf("replay: exit %d, want 0:\n%.2000s", code, a.stderr.String())
	}
	t.Logf("replayed %d answers", n)
}

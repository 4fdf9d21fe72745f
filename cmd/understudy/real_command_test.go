package main

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
)

// testCommand captures programs that have never heard of the proxy: all they get
// is their environment. Then the upstream is gone, and the same commands say the same.
func (s *stage) testCommand(t *testing.T) {
	tr := s.upstreams(t, "nginx.test", "httpbin.test")
	dir := t.TempDir()
	const urllib = "import sys, urllib.request as u\nfor x in sys.argv[1:]: r = u.urlopen(x); print(r.status, r.headers, r.read())"
	const requests = "import sys, requests\nfor x in sys.argv[1:]: r = requests.get(x); print(r.status_code, r.headers, r.content)"
	urls := []string{"http://nginx.test/json", "https://nginx.test/json", "http://httpbin.test/uuid", "https://httpbin.test/uuid"}
	commands := []struct {
		name string
		args func(t *testing.T) []string
	}{
		{"curl", func(t *testing.T) []string { return append([]string{need(t, "curl")[0], "-q", "-sSi"}, urls...) }},
		{"urllib", func(t *testing.T) []string { return append([]string{need(t, "python3")[0], "-c", urllib}, urls...) }},
		{"requests", func(t *testing.T) []string {
			return append([]string{requestsReady(s, t, dir), "-c", requests}, urls...)
		}},
		{"java", func(t *testing.T) []string {
			javaReady(s, t, dir)
			return []string{need(t, "java")[0], "-cp", dir, "Client", "HTTP_2", urls[3]}
		}},
		{"a shell of many", func(t *testing.T) []string {
			need(t, "curl", "python3")
			return []string{"sh", "-c", "curl -q -sS " + urls[0] + " && curl -q -sS " + urls[3] + ` && python3 -c 'import urllib.request as u; print(u.urlopen("` + urls[1] + `").read())'; exit 7`}
		}},
	}
	recorded := make([]string, len(commands))
	for i, c := range commands {
		t.Run("record/"+c.name, func(t *testing.T) {
			args := append([]string{"record", "-o", filepath.Join(dir, strconv.Itoa(i)), "--set", "upstream.connect_to=" + tr.connectTo(),
				"--set", "upstream.ca_file=" + s.identity.ca, "--"}, c.args(t)...)
			out, errs, code := s.command(t, nil, s.bin, args...)
			if want := exitOf(c.name); code != want || !strings.Contains(out, "200") && !strings.Contains(out, "uuid") {
				t.Fatalf("%v: exit %d, want %d:\n%s\n%s", args, code, want, out, errs)
			}
			if found, err := cassette.Verify(filepath.Join(dir, strconv.Itoa(i))); err != nil || len(found) > 0 {
				t.Errorf("Verify = %v, %v, want nothing amiss", found, err)
			}
			recorded[i] = out
		})
	}
	tr.stop()
	for i, c := range commands {
		t.Run("replay/"+c.name, func(t *testing.T) {
			if recorded[i] == "" {
				t.Skip("not recorded: see above")
			}
			args := append([]string{"replay", "-f", filepath.Join(dir, strconv.Itoa(i)), "--"}, c.args(t)...)
			out, errs, code := s.command(t, nil, s.bin, args...)
			if want := exitOf(c.name); code != want || out != recorded[i] {
				t.Errorf("exit %d, want %d; the replay differs:\n%s\n%s", code, want, difference(recorded[i], out), errs)
			}
		})
	}
}

// exitOf is the command's own exit code, which ours must be.
func exitOf(name string) int {
	if name == "a shell of many" {
		return 7
	}
	return 0
}

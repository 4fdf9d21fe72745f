package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wireMockJar finds the peer that npm installed (make deps tells how).
func wireMockJar(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	jars, _ := filepath.Glob(filepath.Join(cache, "understudy-peers/node_modules/wiremock/build/wiremock-standalone-*.jar"))
	if len(jars) == 0 {
		t.Skip("WIREMOCK IS NOT ON THIS MACHINE, so that nothing was compared with it: " +
			"npm install --prefix ~/.cache/understudy-peers wiremock")
	}
	return jars[len(jars)-1]
}

// startWireMock serves the mappings at dir with the real WireMock and returns its address.
func (s *stage) startWireMock(t *testing.T, dir string) string {
	t.Helper()
	jar, java := wireMockJar(t), need(t, "java")[0]
	port := freePort(t)
	cmd := exec.Command(java, "-XX:TieredStopAtLevel=1", "-Xmx256m", "-jar", jar, "--port", strconv.Itoa(port),
		"--bind-address", "127.0.0.1", "--root-dir", dir, "--disable-banner", "--disable-gzip")
	cmd.Env = s.environ()
	var out syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the process
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	address := fmt.Sprintf("127.0.0.1:%d", port)
	for range 600 {
		if resp, err := http.Get("http://" + address + "/__admin/mappings?limit=1"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return address
			}
		}
		select {
		case <-ended:
			t.Fatalf("WireMock ended:\n%s", out.String())
		case <-time.After(200 * time.Millisecond):
		}
	}
	t.Fatalf("WireMock does not answer:\n%s", out.String())
	return ""
}

// question is a request that both are asked.
type question struct {
	method, target, body string
	fields               []string // "Name: value"
}

func (q *question) String() string {
	return fmt.Sprintf("%s %s %q %q", q.method, q.target, q.fields, q.body)
}

// reply is what counts of an answer. A connection that broke has no status.
type reply struct {
	status  int
	reason  string
	fields  []string // sorted
	body    string
	missing bool // nothing answers: the body is each program's own
}

// ask sends a question on a connection of its own, to WireMock or to understudy.
func (q *question) ask(address string, wireMock bool) (r reply, err error) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return r, err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	head := q.method + " " + q.target + " HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n"
	for _, f := range q.fields {
		head += f + "\r\n"
	}
	if q.body != "" {
		head += "Content-Length: " + strconv.Itoa(len(q.body)) + "\r\n"
	}
	if _, err := io.WriteString(nc, head+"\r\n"+q.body); err != nil {
		return r, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(nc), &http.Request{Method: q.method})
	if err != nil {
		return reply{body: "broken"}, nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{body: "broken"}, nil
	}
	nobody := resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusForbidden // of WireMock's folder of files
	switch {
	case resp.Header.Get("Understudy-Miss") != "", wireMock && nobody && resp.Header.Get("Matched-Stub-Id") == "":
		return reply{missing: true}, nil
	case bytes.HasPrefix(data, []byte("lskdu018973t09sylgasjkfg1")): // WireMock's MALFORMED_RESPONSE_CHUNK, where it does not chunk
		return reply{body: "broken"}, nil
	}
	r.status, r.body = resp.StatusCode, string(data)
	_, r.reason, _ = strings.Cut(resp.Status, " ")
	for name, values := range resp.Header {
		switch name {
		case "Matched-Stub-Id", "Matched-Stub-Name", "Date", "Connection", "Content-Length", "Transfer-Encoding", "Vary":
			continue // each program's own
		}
		for _, v := range values {
			r.fields = append(r.fields, name+": "+v)
		}
	}
	slices.SortStableFunc(r.fields, func(a, b string) int { // repeats keep their order
		return strings.Compare(a[:strings.IndexByte(a, ':')], b[:strings.IndexByte(b, ':')])
	})
	return r, nil
}

// questions are those that tell matchers apart, n more at random, always the same, and a
// story of states at the end.
func questions(n int) []question {
	json, form := "Content-Type: application/json", "Content-Type: application/x-www-form-urlencoded"
	targets := strings.Fields(`/hello /hello? /hello?x=1 /hello/ /nowhere / /search?q=shoes&page=1 /search?page=1&q=shoes /search?q=shoes
		/search?q=SHOES /search?q=shoes&page=2 /items/7 /items/8 /items/x /items/ /items /items/7?a=b /users/17/orders/a /users/171/orders/a-b
		/users/171/orders/ /users/171/orders/a/b /users/x/orders/y?z=1 /query /query?a=1 /query?a=2 /query?a=2&a=1 /query?a=1&b=2 /query?a=1&c=3
		/query?a=%31 /query?b=1&a=1 /query-or /query-or?a=1 /query-or?a=xx /query-or?a=y /query-and?a=1 /query-and?a=19 /query-and?a=21 /query-and
		/query-not /query-not?a=1 /query-not?a=2 /query-not?a= /query-case?a=aB%2Bc /query-case?a=ab+c /query-includes?a=1 /query-includes?a=1&a=22
		/query-includes?a=22&a=3&a=1 /header /header-not /header-absent /cookie /cookie-not /auth /cookies-out /bytes /text64 /file
		/file-template?name=Ann /file-template /json-untyped /lines /template/a /template/a?q=z&q=y /template/b/c?q=%3C /template/
		/dribble /delayed /delayed-lognormal /twice /twice/more /twin /fault/close /fault/reset /fault/chunk /fault/random /form /template-json
		/body/equal /body/case /body/contains /body/matches /body/absent /body/not /body/or /body/json /body/json-object /body/json-extra
		/body/json-order /body/path /body/path-deep /body/path-any /body/path-value /body/path-contains /body/path-not
		/body/json-any-order /body/json-recorded /body/path-filter /body/path-filter-root`)
	fields := [][]string{nil, {"X-Kind: one"}, {"X-Kind: two"}, {"X-Kind:"}, {"X-Kind: one", "Accept: application/json"}, {"x-kind: one", "ACCEPT: text/html, json"},
		{"X-Kind: ONE", "Accept: application/json"}, {"Cookie: session=abc1"}, {"Cookie: session=XYZ"}, {"Cookie: a=1; session=12; b=2"}, {"Cookie: other=12"},
		{"Authorization: Basic YW5uOnMzY3JldCsv"}, {"Authorization: basic YW5uOnMzY3JldCsv"}, {"Authorization: Basic YW5uOndyb25n"}}
	bodies := []string{"", "hi", "HI", "hi ", "x", "abcd", "a\nCD", "abce", "word", "never or", `{"a":1,"b":[1,2]}`, `{"b":[1,2],"a":1.0}`, `{"b":[2,1],"a":1}`,
		`{"a":1,"n":null}`, `{"a":1.00 ,"n": null}`, `{"a":1}`, `{"a":"1","n":null}`, `{"a":1,"b":[{"c":1,"d":2},3],"z":9}`, `{"a":1,"b":[{"c":2}]}`,
		`{"l":[1],"a":1}`, `{"l":[1,1],"a":1}`, `{"x":1}`, `{"x":"1"}`, `{"x":"a1"}`, `{"x":"b","y":null}`, `{"x":null}`, `{"x":[]}`, `{"x":{}}`, `{"x":""}`, `{"x":false}`,
		`{"x":1,"y":2}`, `{"x":1,"y":[]}`, `{"items":[{"sku":"shoe-1"},{"sku":"hat"}]}`, `{"items":[{"sku":"hat"}]}`, `{"items":[{"no":1}]}`, `{"items":[]}`, `{"items":{"sku":"hat"}}`, `{"items":{"k":{"sku":"hat"}}}`,
		`[{"x":"a1"}]`, `[{"y":"a1"},{"x":"a1"}]`, `[[{"x":"a1"}]]`, `{"k":{"x":"a1"}}`, `{"a":1,"b":[3,{"c":1}]}`, `{"a":1,"b":[2,1],"c":0}`, `{"a":1,"b":[1,1]}`,
		`{"b":[{"c":1,"d":1},4,3],"a":1,"z":{}}`,
		`{"id":"o-17","x":"<b>"}`, `not json`, `[1]`, "user=ann&x=1", "user=bob", "user=bob&user=ann"}
	var out []question
	typed := func(body string) []string {
		switch {
		case strings.HasPrefix(body, "{"), strings.HasPrefix(body, "["):
			return []string{json}
		case strings.HasPrefix(body, "user="):
			return []string{form}
		}
		return nil
	}
	for _, target := range targets {
		out = append(out, question{method: "GET", target: target})
		if strings.HasPrefix(target, "/body") || target == "/form" || target == "/template-json" || strings.HasPrefix(target, "/template/a") {
			for _, body := range bodies {
				if strings.HasPrefix(target, "/template") && (strings.Contains(body, `"x":null`) || strings.Contains(body, `"x":{}`) || strings.Contains(body, `"x":[]`)) {
					continue // docs/stubs.md: these are written otherwise
				}
				out = append(out, question{"POST", target, body, typed(body)})
			}
		}
		switch target {
		case "/header", "/header-not", "/header-absent", "/cookie", "/cookie-not", "/auth", "/template/a":
			for _, f := range fields {
				out = append(out, question{method: "GET", target: target, fields: f})
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		q := question{method: []string{"GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS"}[r.IntN(7)],
			target: targets[r.IntN(len(targets))], fields: slices.Clone(fields[r.IntN(len(fields))])}
		if q.method != "GET" && q.method != "HEAD" {
			q.body = bodies[r.IntN(len(bodies))]
			q.fields = append(q.fields, typed(q.body)...)
		}
		if strings.HasPrefix(q.target, "/template") {
			q.body = ""
		}
		out = append(out, q)
	}
	for _, method := range strings.Fields("GET DELETE GET POST GET POST GET DELETE GET POST POST GET") {
		out = append(out, question{method: method, target: "/cart"})
	}
	return out
}

// testWireMock has the real WireMock and a replay of its imported mappings answer the same
// requests, the folder's and then those that WireMock's admin API lists. Status, reason, fields
// and body must be equal, whatever order WireMock read the files in.
func (s *stage) testWireMock(t *testing.T) {
	dir := t.TempDir() // WireMock makes folders in its own
	if err := os.CopyFS(dir, os.DirFS("testdata/wiremock")); err != nil {
		t.Fatal(err)
	}
	peer := s.startWireMock(t, dir)
	listed := filepath.Join(dir, "listed.json")
	resp, err := http.Get("http://" + peer + "/__admin/mappings")
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err == nil {
		err = os.WriteFile(listed, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{dir, listed} {
		imported := filepath.Join(t.TempDir(), "imported")
		cmd := exec.Command(s.bin, "cassette", "import", "--strict", "-o", imported, source)
		cmd.Env = s.environ()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("import %s: %v\n%s", source, err, out)
		}
		a := s.start(t, "replay", "-f", imported, "--reverse", "127.0.0.1:0=http://api.test", "--admin", "off")
		door := strings.TrimPrefix(a.address(t, "reverse", ""), "http://")
		if req, err := http.NewRequest(http.MethodPost, "http://"+peer+"/__admin/scenarios/reset", nil); err != nil {
			t.Fatal(err)
		} else if resp, err := http.DefaultClient.Do(req); err != nil {
			t.Fatal(err)
		} else {
			resp.Body.Close()
		}
		asked, answered, differ := 0, 0, 0
		for _, q := range questions(500) {
			want, err := q.ask(peer, true)
			if err != nil {
				t.Fatal(err)
			}
			got, err := q.ask(door, false)
			if err != nil {
				t.Fatal(err)
			}
			asked++
			if !want.missing {
				answered++
			}
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				if differ++; differ <= 20 {
					t.Errorf("%s:\n understudy %+v\n WireMock   %+v", &q, got, want)
				}
			}
		}
		t.Logf("%s: %d requests, %d answered by a mapping, %d answers differ", filepath.Base(source), asked, answered, differ)
		if answered < 400 {
			t.Errorf("WireMock answered %d of %d requests: too few to tell anything", answered, asked)
		}
		a.stop(t)
	}
}

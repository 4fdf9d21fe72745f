package http2

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os/exec"
	"strings"
	"testing"
)

// What Go's client sees, over TLS and with prior knowledge.
func TestGoClient(t *testing.T) {
	for _, secure := range []bool{true, false} {
		addr := listen(t, &Server{Handler: scenario(t)}, secure)
		cl, base := goClient(t, addr, secure)
		get := func(path string) (*http.Response, string) {
			t.Helper()
			res, err := cl.Get(base + path)
			if err != nil {
				t.Fatalf("GET %s: %v", path, err)
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatalf("GET %s: body: %v", path, err)
			}
			return res, string(b)
		}
		res, body := get("/hello")
		if body != "hello" || res.ContentLength != 5 || res.ProtoMajor != 2 {
			t.Errorf("hello = %q, length %d, %s", body, res.ContentLength, res.Proto)
		}
		if res.Header.Get("X-Hop") != "" || res.Header.Get("Connection") != "" || len(res.Header["X-Multi"]) != 2 {
			t.Errorf("hello's fields = %v, want no hop-by-hop ones and both X-Multi", res.Header)
		}
		if res, body := get("/trailer"); body != "body" || res.Trailer.Get("X-Sum") != "42" || res.Trailer.Get("X-Late") != "yes" {
			t.Errorf("trailer = %q %v", body, res.Trailer)
		}
		if res, body := get("/204"); body != "" || res.StatusCode != 204 || res.Header.Get("Content-Length") != "" {
			t.Errorf("204 = %q %v", body, res.Header)
		}
		if res, err := cl.Head(base + "/hello"); err != nil || res.StatusCode != 200 {
			t.Errorf("HEAD = %v %v", res, err)
		}
		if _, body := get("/hijack"); body != "kept" {
			t.Errorf("hijack = %q", body)
		}

		// Both ways, over all windows, with trailers.
		pr, pw := io.Pipe()
		go func() { _ = pw.CloseWithError(pattern(pw, 20<<20)) }()
		req, _ := http.NewRequest("POST", base+"/echo", pr)
		req.Trailer = http.Header{"X-Up": {"up"}}
		res, err := cl.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := checkPattern(res.Body); err != nil || n != 20<<20 {
			t.Errorf("echo: %d bytes, %v", n, err)
		}
		res.Body.Close()
		if got := res.Trailer.Get("X-Up"); got != "up" {
			t.Errorf("echo's trailer = %q, want up", got)
		}
		if res, err := cl.Post(base+"/ignore", "text/plain", bytes.NewReader(make([]byte, 4<<20))); err != nil || res.StatusCode != 200 {
			t.Errorf("unread upload: %v %v", res, err)
		} else {
			res.Body.Close()
		}
		get("/hello") // the connection survives it

		// Enough for some 20,000 WINDOW_UPDATEs.
		if res, err = cl.Get(base + "/big?100000000"); err != nil {
			t.Fatal(err)
		}
		if n, err := checkPattern(res.Body); n != 100_000_000 || err != nil {
			t.Errorf("100 MB: got %d, %v", n, err)
		}
		res.Body.Close()

		var seen []int
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { seen = append(seen, code); return nil },
		})
		req, _ = http.NewRequestWithContext(ctx, "GET", base+"/inform", nil)
		if res, err := cl.Do(req); err != nil || len(seen) != 2 || seen[0] != 103 || seen[1] != 102 {
			t.Errorf("interim = %v, %v", seen, err)
		} else {
			res.Body.Close()
		}
		req, _ = http.NewRequest("POST", base+"/echo", strings.NewReader("waited"))
		req.Header.Set("Expect", "100-continue")
		if res, err := cl.Do(req); err != nil {
			t.Error(err)
		} else if b, _ := io.ReadAll(res.Body); string(b) != "waited" {
			t.Errorf("expect = %q", b)
		}
		for _, path := range []string{"/abort", "/close", "/raw", "/short"} {
			res, err := cl.Get(base + path)
			if err == nil {
				_, err = io.ReadAll(res.Body)
				res.Body.Close()
			}
			if err == nil {
				t.Errorf("%s: no error at the client", path)
			}
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	var out, talk bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out.String(), talk.String())
	}
	return out.String()
}

func TestCurl(t *testing.T) {
	if v, err := exec.Command("curl", "--version").Output(); err != nil || !bytes.Contains(v, []byte("HTTP2")) {
		t.Skip("no curl with HTTP/2 here")
	}
	for _, secure := range []bool{true, false} {
		addr := listen(t, &Server{Handler: scenario(t)}, secure)
		flag, base := "--http2", "https://"+addr
		if !secure {
			flag, base = "--http2-prior-knowledge", "http://"+addr
		}
		got := run(t, "curl", "-sSk", flag, "-A", "probe", "-H", "B: 1", "-H", "a: 2", "-H", "B: 3", "-b", "x=1", base+"/dump?q=%20a")
		want := "HTTP/2.0 GET " + base[:strings.Index(base, ":")] + " " + addr + " /dump?q=%20a 0\n" +
			"user-agent: probe\naccept: */*\ncookie: x=1\nb: 1\na: 2\nb: 3\n"
		if got != want {
			t.Errorf("curl %s: dump =\n%s\nwant\n%s", flag, got, want)
		}
		body := strings.Repeat("0123456789", 300_000)
		cmd := exec.Command("curl", "-sSk", flag, "--data-binary", "@-", base+"/echo")
		cmd.Stdin = strings.NewReader(body)
		if out, err := cmd.Output(); err != nil || string(out) != body {
			t.Errorf("curl %s: upload of %d bytes came back as %d, %v", flag, len(body), len(out), err)
		}
		if got := run(t, "curl", "-sSk", flag, "-o", "/dev/null", "-w", "%{http_version} %{http_code} %{size_download}", base+"/big?3000000"); got != "2 200 3000000" {
			t.Errorf("curl %s: big = %q", flag, got)
		}
		if err := exec.Command("curl", "-sSk", flag, base+"/reset?8").Run(); err == nil {
			t.Errorf("curl %s: reset gave no error", flag)
		}
	}
}

func TestNode(t *testing.T) {
	addr := listen(t, &Server{Handler: scenario(t)}, false)
	script := `
const h2 = require('http2');
const c = h2.connect('http://` + addr + `');
const req = (h, body) => new Promise((ok) => {
  const s = c.request(h); let b = '', r = '';
  s.setEncoding('latin1');
  s.on('headers', (x) => r += x[':status'] + ' ');
  s.on('response', (x) => r += x[':status']);
  s.on('trailers', (x) => r += ' ' + x['x-sum']);
  s.on('data', (d) => b += d);
  s.on('error', (e) => {});
  s.on('close', () => ok(r + ' ' + b.length + ' ' + s.rstCode));
  s.end(body);
});
(async () => {
  console.log(await req({':path': '/hello'}));
  console.log(await req({':path': '/trailer'}));
  console.log(await req({':path': '/inform'}));
  console.log(await req({':path': '/big?5000000'}));
  console.log(await req({':path': '/echo', ':method': 'POST'}, 'x'.repeat(3000000)));
  console.log(await req({':path': '/reset?11'}));
  console.log((await Promise.all([1,2,3,4,5,6,7,8].map(() => req({':path': '/big?200000'})))).join(','));
  c.close();
})();`
	got := run(t, "node", "-e", script)
	want := `200 5 0
200 42 4 0
103 102 200 8 0
200 5000000 0
200 3000000 0
 0 11
` + strings.TrimSuffix(strings.Repeat("200 200000 0,", 8), ",") + "\n"
	if got != want {
		t.Errorf("node saw\n%s\nwant\n%s", got, want)
	}
}

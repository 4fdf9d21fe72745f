package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/understudy-proxy/understudy/fixtures"
)

var (
	clientModes   = []string{"h1", "h1s", "h2", "h2c"}
	upstreamModes = []string{"h1", "h1s", "h2", "h2c"}
)

// everyTransport runs f for each way that a client and an upstream can talk.
func everyTransport(t *testing.T, h http.HandlerFunc, f func(t *testing.T, g *rig, c *http.Client, base string), configs ...config) {
	for _, up := range upstreamModes {
		for _, down := range clientModes {
			t.Run(down+" to "+up, func(t *testing.T) {
				g := newRig(t, origin(t, up, h), configs...)
				c, base := g.client(down)
				f(t, g, c, base)
			})
		}
	}
}

// kitchen is an upstream that does a bit of everything.
func kitchen(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/plain":
		w.Header().Set("X-Proto", r.Proto)
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		_, _ = io.WriteString(w, "plain text")
	case "/echo":
		w.Header().Set("Trailer", "X-Sum")
		_ = http.NewResponseController(w).EnableFullDuplex()
		n, _ := io.Copy(flushing{w}, r.Body)
		w.Header().Set("X-Sum", strconv.FormatInt(n, 10)+r.Trailer.Get("X-Up"))
	case "/hints":
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(103)
		w.WriteHeader(200)
	case "/none":
		w.WriteHeader(204)
	case "/same":
		w.Header().Set("Etag", `"1"`)
		w.WriteHeader(304)
	case "/size":
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n, err)
	case "/broken":
		w.Header().Set("Content-Length", strconv.Itoa(len(flood)))
		_, _ = w.Write(flood[:floodCut])
		panic(http.ErrAbortHandler)
	case "/flood":
		w.Header().Set("Content-Length", strconv.Itoa(len(flood)))
		_, _ = w.Write(flood)
	case "/floodchunked":
		_, _ = w.Write(flood)
	case "/long":
		w.Header().Set("Content-Length", strconv.Itoa(len(long)))
		_, _ = w.Write(long)
	default:
		http.NotFound(w, r)
	}
}

var long = bytes.Repeat([]byte("0123456789abcdef"), 20000)

// flood is longer than any buffer on its way; floodCut of it is no whole number of them.
var flood = bytes.Repeat(long, 10)

const floodCut = 1234567

// flushing sends each write at once.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	_ = http.NewResponseController(f.w).Flush()
	return n, err
}

func TestEveryTransport(t *testing.T) {
	everyTransport(t, kitchen, func(t *testing.T, g *rig, c *http.Client, base string) {
		resp := get(t, c, base+"/plain")
		if resp.body != "plain text" || fmt.Sprint(resp.Header["Set-Cookie"]) != "[a=1 b=2]" {
			t.Errorf("GET /plain = %q, cookies %v", resp.body, resp.Header["Set-Cookie"])
		}
		x := g.books.exchange(t, 1)
		if x.Times.RequestRead <= 0 || x.Times.UpstreamSent < 0 || x.Times.FirstByte < x.Times.RequestRead || x.Times.End < x.Times.FirstByte {
			t.Errorf("GET /plain: times %+v are not in order", x.Times)
		}
		if x.Times.UpstreamConnect <= 0 || x.Times.Reused || x.Source != "upstream" || x.Outcome != "" || x.Response.Body.Size != 10 {
			t.Errorf("GET /plain: record %+v, source %q", x.Exchange, x.Source)
		}

		if resp := get(t, c, base+"/long"); resp.body != string(long) {
			t.Errorf("GET /long: %d bytes, want %d, the same", len(resp.body), len(long))
		}
		if resp := get(t, c, base+"/none"); resp.StatusCode != 204 || resp.body != "" {
			t.Errorf("GET /none = %d %q", resp.StatusCode, resp.body)
		}
		if resp := get(t, c, base+"/same"); resp.StatusCode != 304 || resp.Header.Get("Etag") != `"1"` {
			t.Errorf("GET /same = %d %v", resp.StatusCode, resp.Header)
		}
		head, err := c.Head(base + "/long")
		if err != nil || head.ContentLength != int64(len(long)) {
			t.Fatalf("HEAD /long = %+v, %v, want length %d", head, err, len(long))
		}
		_ = head.Body.Close()
		if resp := get(t, c, base+"/plain"); resp.body != "plain text" { // the connection is in order
			t.Errorf("GET /plain again = %q", resp.body)
		}
		if x := g.books.exchange(t, 6); !x.Times.Reused {
			t.Error("the upstream connection was not used again")
		}
	}, recording)
}

func TestEveryTransportCarriesBodiesAndTrailers(t *testing.T) {
	everyTransport(t, kitchen, func(t *testing.T, g *rig, c *http.Client, base string) {
		req, _ := http.NewRequest("POST", base+"/echo", io.MultiReader(bytes.NewReader(long))) // of unknown length
		req.Trailer = http.Header{"X-Up": []string{"!"}}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(body, long) {
			t.Fatalf("echo: %d bytes, %v, want %d, the same", len(body), err, len(long))
		}
		if got, want := resp.Trailer.Get("X-Sum"), strconv.Itoa(len(long))+"!"; got != want {
			t.Errorf("trailer X-Sum = %q, want %q", got, want)
		}
		x := g.books.exchange(t, 1)
		if x.Request.Body.Size != int64(len(long)) || x.Request.Body.CutShort || x.Request.Trailer.Get("X-Up") != "!" ||
			x.Response.Trailer.Get("X-Sum") == "" || x.Times.RequestRead == 0 {
			t.Errorf("record: request %d bytes, cut %v, trailer %v, read at %v; response trailer %v",
				x.Request.Body.Size, x.Request.Body.CutShort, x.Request.Trailer, x.Times.RequestRead, x.Response.Trailer)
		}

		resp, err = c.Post(base+"/echo", "text/plain", strings.NewReader("of known length"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ = io.ReadAll(resp.Body)
		if x := g.books.exchange(t, 2); string(body) != "of known length" || x.Request.Body.CutShort || x.Request.Body.Size != 15 {
			t.Errorf("echo = %q, record %+v", body, x.Request.Body)
		}
	}, recording)
}

// Bodies longer than all buffers arrive whole, whichever way they go, and are
// accounted for to the byte, recorded or not.
func TestEveryTransportFloods(t *testing.T) {
	for name, configs := range map[string][]config{"unrecorded": nil, "recorded": {recording}} {
		t.Run(name, func(t *testing.T) {
			everyTransport(t, kitchen, func(t *testing.T, g *rig, c *http.Client, base string) {
				for i, path := range []string{"/flood", "/floodchunked"} {
					if r := get(t, c, base+path); r.err != nil || r.body != string(flood) {
						t.Fatalf("GET %s: %d bytes, %v, want %d, the same", path, len(r.body), r.err, len(flood))
					}
					x := g.books.exchange(t, i+1)
					if x.Response.Body.Size != int64(len(flood)) || x.Response.Body.CutShort {
						t.Errorf("GET %s: record of %d bytes, cut %v", path, x.Response.Body.Size, x.Response.Body.CutShort)
					}
				}
				for i, body := range []io.Reader{bytes.NewReader(flood), io.MultiReader(bytes.NewReader(flood))} {
					resp, err := c.Post(base+"/size", "text/plain", body)
					if err != nil {
						t.Fatal(err)
					}
					got, _ := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if want := fmt.Sprint(len(flood), nil); string(got) != want {
						t.Errorf("upload %d: %q arrived, want %q", i, got, want)
					}
					x := g.books.exchange(t, 3+i)
					if x.Request.Body.Size != int64(len(flood)) || x.Request.Body.CutShort || x.Times.RequestRead == 0 {
						t.Errorf("upload %d: record of %d bytes, cut %v, read at %v", i, x.Request.Body.Size, x.Request.Body.CutShort, x.Times.RequestRead)
					}
				}
			}, configs...)
		})
	}
}

// A long body that breaks off is broken off, whichever way it goes.
func TestEveryTransportBreaksFloods(t *testing.T) {
	everyTransport(t, kitchen, func(t *testing.T, g *rig, c *http.Client, base string) {
		r := get(t, c, base+"/broken")
		if r.err == nil || r.body != string(flood[:len(r.body)]) {
			t.Errorf("GET /broken: %d bytes, %v, want the start of what was sent, and an error", len(r.body), r.err)
		}
		x := g.books.exchange(t, 1)
		// HTTP/2 may drop what was sent before a stream's reset.
		if b := x.Response.Body; !b.CutShort || b.Size > floodCut || b.Size < int64(len(r.body)) || x.Outcome != fixtures.OutcomeUpstream {
			t.Errorf("record of %d bytes, cut %v, outcome %q %s", b.Size, b.CutShort, x.Outcome, x.Error)
		}

		req, _ := http.NewRequest("POST", base+"/size", io.MultiReader(bytes.NewReader(flood[:floodCut]), iotest.ErrReader(io.ErrUnexpectedEOF)))
		req.ContentLength = int64(len(flood))
		if resp, err := c.Do(req); err == nil {
			_ = resp.Body.Close()
			t.Errorf("POST /size = %d, want none", resp.StatusCode)
		}
		// An upstream may still answer that it got less than it was promised.
		x = g.books.exchange(t, 2)
		if !x.Request.Body.CutShort || x.Request.Body.Size > floodCut || x.Outcome != fixtures.OutcomeClient && x.Response.Status == 0 {
			t.Errorf("record of %d bytes, cut %v, outcome %q %s", x.Request.Body.Size, x.Request.Body.CutShort, x.Outcome, x.Error)
		}
	})
}

func TestEveryTransportInforms(t *testing.T) {
	everyTransport(t, kitchen, func(t *testing.T, g *rig, c *http.Client, base string) {
		var got []string
		req, _ := http.NewRequest("GET", base+"/hints", nil)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				got = append(got, fmt.Sprintf("%d %s", code, h.Get("Link")))
				return nil
			}}))
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		x := g.books.exchange(t, 1)
		if fmt.Sprint(got) != "[103 </style.css>]" || len(x.Response.Informational) != 1 || x.Response.Informational[0].At <= 0 {
			t.Errorf("interim responses = %v, recorded %+v", got, x.Response.Informational)
		}
	})
}

// Both ways at once: each piece comes back before the next is sent.
func TestEveryTransportIsFullDuplex(t *testing.T) {
	everyTransport(t, kitchen, func(t *testing.T, g *rig, c *http.Client, base string) {
		pr, pw := io.Pipe()
		req, _ := http.NewRequest("POST", base+"/echo", pr)
		go func() { _, _ = io.WriteString(pw, "one") }() // ends when the client has read it
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		buf := make([]byte, 3)
		for i, word := range []string{"one", "two", "six"} {
			if i > 0 {
				if _, err := io.WriteString(pw, word); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != word {
				t.Fatalf("echo = %q, %v, want %q", buf, err, word)
			}
		}
		_ = pw.Close()
		if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
			t.Errorf("then %q, %v, want the end", rest, err)
		}
		if x := g.books.exchange(t, 1); x.Request.Body.Size != 9 || x.Request.Body.CutShort || x.Outcome != fixtures.OutcomeComplete {
			t.Errorf("record: %+v, outcome %q %s", x.Request.Body, x.Outcome, x.Error)
		}
	}, recording)
}

// Heads and parts of a stream go on at once, whatever follows.
func TestEveryTransportStreams(t *testing.T) {
	step := make(chan struct{})
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PRI" { // HTTP/2 is tried on cleartext, and net/http shows that to handlers
			return
		}
		for i := range 3 {
			if i > 0 {
				_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			}
			w.(http.Flusher).Flush()
			<-step
		}
	}
	everyTransport(t, h, func(t *testing.T, g *rig, c *http.Client, base string) {
		resp, err := c.Get(base + "/stream") // returns with the head, before any body
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		buf := make([]byte, 9)
		for i := 1; i < 3; i++ {
			step <- struct{}{}
			if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != fmt.Sprintf("data: %d\n\n", i) {
				t.Fatalf("part %d = %q, %v", i, buf, err)
			}
		}
		step <- struct{}{}
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Errorf("end of the stream: %v", err)
		}
		if x := g.books.exchange(t, 1); len(x.Response.Body.Frames) != 2 {
			t.Errorf("frames = %+v, want 2", x.Response.Body.Frames)
		}
	})
}

// reply is a response with its body read.
type reply struct {
	*http.Response
	body string
	err  error // of the body
}

func get(t testing.TB, c *http.Client, url string) reply {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp, string(body), err}
}

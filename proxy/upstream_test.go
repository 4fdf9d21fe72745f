package proxy

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/upstream"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// saying answers each request with raw bytes, and closes.
func saying(raw string) func(nc *net.TCPConn) {
	return func(nc *net.TCPConn) {
		_, _ = nc.Read(make([]byte, 4096))
		_, _ = io.WriteString(nc, raw)
	}
}

// An upstream that fails is answered for with a problem that says how.
func TestUpstreamFails(t *testing.T) {
	silent := rawOrigin(t, func(nc *net.TCPConn) { _, _ = io.Copy(io.Discard, nc) })
	strict := &upstream.Transport{}
	hasty := &upstream.Transport{ResponseHeaderTimeout: time.Millisecond}
	t.Cleanup(func() {
		_ = strict.Close()
		_ = hasty.Close()
	})
	for _, tc := range []struct {
		name, to string
		tr       wire.RoundTripper
		status   int
		says     string
	}{
		{"refused", "http://127.0.0.1:1", nil, 502, "refused"},
		{"no such name", "http://no-such-name.invalid", nil, 502, "resolve no-such-name.invalid"},
		{"not trusted", origin(t, "h1s", sayHello), strict, 502, "certificate"},
		{"nonsense", "http://" + rawOrigin(t, saying("nonsense\r\n\r\n")), nil, 502, "protocol"},
		{"closed", "http://" + rawOrigin(t, saying("")), nil, 502, "EOF"},
		{"silent", "http://" + silent, hasty, 504, "in time"},
	} {
		for _, mode := range []string{"h1", "h2"} {
			t.Run(tc.name+" "+mode, func(t *testing.T) {
				g := newRig(t, tc.to, recording, tune(func(o *Options) {
					if tc.tr != nil {
						o.Upstream = tc.tr
					}
				}))
				c, base := g.client(mode)
				resp := get(t, c, base+"/?token=hush")
				var doc struct{ Detail, From string }
				if err := json.Unmarshal([]byte(resp.body), &doc); err != nil || doc.From != "understudy" || resp.Header.Get("Understudy-Error") == "" {
					t.Errorf("%v: %v %s", err, resp.Header, resp.body)
				}
				// A server that is silent or breaks HTTP/1 fails otherwise when HTTP/2 is tried.
				if mode == "h1" && (resp.StatusCode != tc.status || !strings.Contains(doc.Detail, tc.says)) {
					t.Errorf("%d %q, want %d and %q", resp.StatusCode, doc.Detail, tc.status, tc.says)
				}
				x := g.books.exchange(t, 1)
				if x.Outcome != fixtures.OutcomeUpstream || x.Error != doc.Detail || x.Response.Status != 0 || strings.Contains(x.Error, "hush") {
					t.Errorf("outcome %q, error %q, status %d on record", x.Outcome, x.Error, x.Response.Status)
				}
			})
		}
	}
}

// A body that breaks off upstream breaks off here.
func TestUpstreamBreaksOff(t *testing.T) {
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\nnonsense\r\n",
	} {
		for _, mode := range clientModes {
			g := newRig(t, "http://"+rawOrigin(t, saying(raw)), recording)
			c, base := g.client(mode)
			if mode == "h2" || mode == "h2c" { // the upstream speaks no HTTP/2 at all
				g.server.Pipeline.o.Upstream = asHTTP1{g.opts.Upstream}
			}
			resp := get(t, c, base)
			if resp.err == nil || resp.body != "01234" {
				t.Errorf("%s: got %q, %v, want 01234 and an error", mode, resp.body, resp.err)
			}
			x := g.books.exchange(t, 1)
			if x.Outcome != fixtures.OutcomeUpstream || !x.Response.Body.CutShort || x.Response.Body.Size != 5 || x.Error == "" {
				t.Errorf("%s: outcome %q (%s), record %+v", mode, x.Outcome, x.Error, x.Response.Body)
			}
		}
	}
}

// asHTTP1 sends all requests as HTTP/1.1.
type asHTTP1 struct{ to wire.RoundTripper }

func (a asHTTP1) RoundTrip(ctx context.Context, r *wire.Request) (*wire.Response, error) {
	out := *r
	out.Proto = "HTTP/1.1"
	return a.to.RoundTrip(ctx, &out)
}

// 417 instead of 100: the body is not asked for.
func TestExpectationFails(t *testing.T) {
	to := rawOrigin(t, saying("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno"))
	g := newRig(t, "http://"+to, recording)
	got, err := g.ask("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 417 ") || !strings.HasSuffix(got, "\r\n\r\nno") || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if x := g.books.exchange(t, 1); x.Response.Status != 417 || x.Request.Body.Size != 0 || !x.Request.Body.CutShort {
		t.Errorf("status %d, request body %+v", x.Response.Status, x.Request.Body)
	}
}

func TestExpectationMet(t *testing.T) {
	g := newRig(t, origin(t, "h1", kitchen), recording)
	c, base := g.client("h1")
	req, _ := http.NewRequest("POST", base+"/echo", strings.NewReader("body"))
	req.Header.Set("Expect", "100-continue")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "body" {
		t.Errorf("echo %q", body)
	}
}

// A defect of ours ends one exchange, and is on the books.
func TestPanicIsContained(t *testing.T) {
	for _, mode := range clientModes {
		g := newRig(t, origin(t, "h1", sayHello), planning(&planned{plan: func(x *Exchange) fixtures.Plan {
			if x.Request.Target == "/panic" {
				panic("a defect")
			}
			return fixtures.Plan{}
		}}))
		c, base := g.client(mode)
		if _, err := c.Post(base+"/panic", "", nil); err == nil {
			t.Errorf("%s: the answer is whole", mode)
		}
		if x := g.books.exchange(t, 1); x.Outcome != fixtures.OutcomeInternal || !strings.Contains(x.Error, "a defect") {
			t.Errorf("%s: outcome %q, error %q", mode, x.Outcome, x.Error)
		}
		if resp := get(t, c, base+"/"); resp.body != hello {
			t.Errorf("%s: then %q", mode, resp.body)
		}
	}
}

// An answer that the client's protocol cannot carry is replaced by one that says so.
func TestAnswerThatCannotBeWritten(t *testing.T) {
	a := textAnswer("x")
	a.Response.Header = fixtures.Header{{Name: "X-Bad", Value: "a\r\nInjected: 1"}}
	g := newRig(t, "http://up.test", responding(answering(a)))
	got, _ := g.ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 502 ") || strings.Contains(got, "\r\nInjected") {
		t.Errorf("got %q", got)
	}
	if x := g.books.exchange(t, 1); x.Outcome != fixtures.OutcomeMiss || x.Error == "" {
		t.Errorf("outcome %q, error %q", x.Outcome, x.Error)
	}
}

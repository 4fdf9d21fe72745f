package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/http2"

	"github.com/understudy-proxy/understudy/fixtures"
)

const hello = "0123456789"

func sayHello(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Real", "yes")
	w.Header().Set("Content-Length", "10")
	_, _ = io.WriteString(w, hello)
}

func sayHelloChunked(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(flushing{w}, hello)
}

const getSlash = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

// What each fault does to the bytes of an HTTP/1 connection.
func TestFaultsOnHTTP1(t *testing.T) {
	rst := func(t *testing.T, got string, err error) {
		t.Helper()
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the connection ended with %v, want a reset", err)
		}
	}
	fin := func(t *testing.T, got string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("the connection ended with %v, want FIN", err)
		}
	}
	type check func(t *testing.T, got string, err error)
	nothing := func(t *testing.T, got string, _ error) {
		t.Helper()
		if got != "" {
			t.Errorf("got %q, want nothing", got)
		}
	}
	ends := func(with string) check {
		return func(t *testing.T, got string, _ error) {
			t.Helper()
			if !strings.HasSuffix(got, with) {
				t.Errorf("got %q, want it to end with %q", got, with)
			}
		}
	}
	begins := func(with string) check {
		return func(t *testing.T, got string, _ error) {
			t.Helper()
			if !strings.HasPrefix(got, with) {
				t.Errorf("got %q, want it to begin with %q", got, with)
			}
		}
	}
	has := func(part string) check {
		return func(t *testing.T, got string, _ error) {
			t.Helper()
			if !strings.Contains(got, part) {
				t.Errorf("got %q, want %q in it", got, part)
			}
		}
	}
	for _, tc := range []struct {
		name   string
		fault  fixtures.Fault
		h      http.HandlerFunc
		asked  bool // the upstream is
		checks []check
	}{
		{"reset", fixtures.Fault{Kind: fixtures.FaultReset, Where: fixtures.WhereBeforeResponse}, sayHello, false, []check{nothing, rst}},
		{"reset mid-body", fixtures.Fault{Kind: fixtures.FaultReset, Where: fixtures.WhereMidBody}, sayHello, true, []check{ends("\r\n\r\n01234"), rst}},
		{"reset mid-body after 3", fixtures.Fault{Kind: fixtures.FaultReset, Where: fixtures.WhereMidBody, AfterBytes: 3}, sayHello, true, []check{ends("\r\n\r\n012"), rst}},
		{"reset mid-body of unknown length", fixtures.Fault{Kind: fixtures.FaultReset, Where: fixtures.WhereMidBody}, sayHelloChunked, true, []check{ends("\r\n\r\n5\r\n01234\r\n"), rst}},
		{"reset after response", fixtures.Fault{Kind: fixtures.FaultReset, Where: fixtures.WhereAfterResponse}, sayHello, true, []check{ends(hello), rst}},
		{"reset after chunked response", fixtures.Fault{Kind: fixtures.FaultReset, Where: fixtures.WhereAfterResponse}, sayHelloChunked, true, []check{ends(hello + "\r\n0\r\n\r\n"), rst}},
		{"close", fixtures.Fault{Kind: fixtures.FaultClose}, sayHello, false, []check{nothing, fin}},
		{"goaway", fixtures.Fault{Kind: fixtures.FaultGoAway, Code: 11}, sayHello, false, []check{nothing, fin}},
		{"rst_stream", fixtures.Fault{Kind: fixtures.FaultRSTStream, Code: 7}, sayHello, false, []check{nothing, rst}},
		{"hang", fixtures.Fault{Kind: fixtures.FaultHang, For: 1}, sayHello, false, []check{nothing, fin}},
		{"truncate half", fixtures.Fault{Kind: fixtures.FaultTruncate, AfterShare: 0.5}, sayHello, true, []check{has("Content-Length: 10"), ends("\r\n\r\n01234"), fin}},
		{"truncate after 7", fixtures.Fault{Kind: fixtures.FaultTruncate, AfterBytes: 7}, sayHello, true, []check{ends("\r\n\r\n0123456"), fin}},
		{"truncate to nothing", fixtures.Fault{Kind: fixtures.FaultTruncate}, sayHello, true, []check{ends("\r\n\r\n"), fin}},
		{"truncate chunked", fixtures.Fault{Kind: fixtures.FaultTruncate, AfterShare: 0.2}, sayHelloChunked, true, []check{ends("\r\n\r\n2\r\n01\r\n"), fin}},
		{"status line", fixtures.Fault{Kind: fixtures.FaultMalformed, Where: fixtures.WhereStatusLine}, sayHello, true, []check{begins("HTTP/1.1 2OO OK\r\n"), fin}},
		{"header", fixtures.Fault{Kind: fixtures.FaultMalformed, Where: fixtures.WhereHeader}, sayHello, true, []check{begins("HTTP/1.1 200 OK\r\n"), has("X-Real: yes\r\n"), has("no colon\r\n"), fin}},
		{"chunk", fixtures.Fault{Kind: fixtures.FaultMalformed, Where: fixtures.WhereChunk}, sayHello, true, []check{begins("HTTP/1.1 200 OK\r\n"), ends("chunked\r\n\r\nnot-a-size\r\n"), fin}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asked := 0
			g := newRig(t, origin(t, "h1", func(w http.ResponseWriter, r *http.Request) { asked++; tc.h(w, r) }), planning(faulty(tc.fault)), recording)
			got, err := g.ask(getSlash)
			for _, c := range tc.checks {
				c(t, got, err)
			}
			x := g.books.exchange(t, 1)
			if x.Outcome != fixtures.OutcomeFault || len(x.Fired) != 1 {
				t.Errorf("outcome %q, fired %v, want fault by one rule", x.Outcome, x.Fired)
			}
			want := "rule"
			if tc.asked {
				want = "upstream"
			}
			if x.Source != want || (asked > 0) != tc.asked {
				t.Errorf("source %q, asked %d times, want %q", x.Source, asked, want)
			}
			if tc.asked { // recorded as the upstream answered it
				g.stop()
				if k := g.books.tapes[0]; string(k.resp) != hello || k.x.Response.Body.CutShort || k.x.Response.Status != 200 {
					t.Errorf("recorded %q, cut %v, status %d, want all of it", k.resp, k.x.Response.Body.CutShort, k.x.Response.Status)
				}
			}
		})
	}
}

func TestFaultStatus(t *testing.T) {
	everyTransport(t, sayHello, func(t *testing.T, g *rig, c *http.Client, base string) {
		resp, err := c.Post(base+"/", "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 503 || string(body) != "busy" || resp.Header.Get("Retry-After") != "1" {
			t.Errorf("POST / = %d %q %v", resp.StatusCode, body, resp.Header)
		}
		if x := g.books.exchange(t, 1); x.Source != "rule" || x.Outcome != fixtures.OutcomeFault || x.Response.Status != 503 {
			t.Errorf("source %q, outcome %q, status %d", x.Source, x.Outcome, x.Response.Status)
		}
	}, planning(faulty(fixtures.Fault{Kind: fixtures.FaultStatus, Status: 503, Header: fixtures.Header{{Name: "Retry-After", Value: "1"}}, Body: []byte("busy")})))
}

// A fault decided at the response's head: the client gets the fault, the
// record what the upstream said.
func TestFaultsAtTheResponse(t *testing.T) {
	for _, tc := range []struct {
		fault fixtures.Fault
		want  string // what the raw answer contains; "" for no byte
	}{
		{fixtures.Fault{Kind: fixtures.FaultStatus, Status: 502, Body: []byte("masked")}, "masked"},
		{fixtures.Fault{Kind: fixtures.FaultReset, Where: fixtures.WhereBeforeResponse}, ""},
		{fixtures.Fault{Kind: fixtures.FaultClose}, ""},
		{fixtures.Fault{Kind: fixtures.FaultHang, For: 1}, ""},
		{fixtures.Fault{Kind: fixtures.FaultGoAway}, ""},
		{fixtures.Fault{Kind: fixtures.FaultRSTStream}, ""},
	} {
		t.Run(string(tc.fault.Kind), func(t *testing.T) {
			seen := 0
			p := &planned{response: func(x *Exchange) fixtures.Plan {
				seen = x.Response.Status
				if x.Times.FirstByte <= 0 {
					t.Errorf("PlanResponse is not told the first byte's time")
				}
				return fixtures.Plan{Fired: []string{"late"}, Fault: &tc.fault}
			}}
			g := newRig(t, origin(t, "h1", sayHello), planning(p), recording)
			got, _ := g.ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) || strings.Contains(got, hello) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			g.stop()
			k := g.books.tapes[0]
			if seen != 200 || string(k.resp) != hello || k.x.Response.Status != 200 || k.x.Response.Body.Size != 10 || k.x.Response.Body.CutShort {
				t.Errorf("PlanResponse saw %d; recorded %q as %+v", seen, k.resp, k.x.Response)
			}
			if x := g.books.exchange(t, 1); x.Outcome != fixtures.OutcomeFault || x.Source != "upstream" || x.Fired[0] != "late" {
				t.Errorf("outcome %q, source %q, fired %v", x.Outcome, x.Source, x.Fired)
			}
		})
	}
}

func TestFaultsOnHTTP2(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault fixtures.Fault
		check func(t *testing.T, body string, err error)
	}{
		{"reset", fixtures.Fault{Kind: fixtures.FaultReset}, wantStream(http2.ErrCodeCancel, "")},
		{"rst_stream", fixtures.Fault{Kind: fixtures.FaultRSTStream, Code: 11}, wantStream(http2.ErrCodeEnhanceYourCalm, "")},
		{"mid-body", fixtures.Fault{Kind: fixtures.FaultReset, Where: fixtures.WhereMidBody}, wantStream(http2.ErrCodeCancel, "01234")},
		{"after", fixtures.Fault{Kind: fixtures.FaultReset, Where: fixtures.WhereAfterResponse}, wantStream(http2.ErrCodeCancel, hello)},
		{"truncate", fixtures.Fault{Kind: fixtures.FaultTruncate, AfterShare: 0.3}, wantStream(http2.ErrCodeInternal, "012")},
		{"goaway", fixtures.Fault{Kind: fixtures.FaultGoAway, Code: 11}, func(t *testing.T, body string, err error) {
			var ga http2.GoAwayError
			if se, ok := errors.AsType[http2.StreamError](err); !errors.As(err, &ga) && !ok || ok && se.Code != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("error %v (%T), want GOAWAY or a reset with its code", err, err)
			}
		}},
		{"close", fixtures.Fault{Kind: fixtures.FaultClose}, wantLost},
		{"hang", fixtures.Fault{Kind: fixtures.FaultHang, For: 1}, wantLost},
		{"malformed", fixtures.Fault{Kind: fixtures.FaultMalformed, Where: fixtures.WhereHeader}, wantLost},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newRig(t, origin(t, "h2", sayHello), planning(faulty(tc.fault)))
			tr := &http2.Transport{AllowHTTP: true, DialTLSContext: g.dialClear}
			t.Cleanup(tr.CloseIdleConnections)
			req, _ := http.NewRequest("POST", "http://"+g.addr+"/", bytes.NewReader(nil)) // not repeated by itself
			resp, err := tr.RoundTrip(req)
			var body []byte
			if err == nil {
				body, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			tc.check(t, string(body), err)
			if x := g.books.exchange(t, 1); x.Outcome != fixtures.OutcomeFault {
				t.Errorf("outcome %q (%s), want fault", x.Outcome, x.Error)
			}
		})
	}
}

func wantStream(code http2.ErrCode, body string) func(*testing.T, string, error) {
	return func(t *testing.T, got string, err error) {
		t.Helper()
		if se, ok := errors.AsType[http2.StreamError](err); !ok || se.Code != code || got != body {
			t.Errorf("got %q and %v, want %q and RST_STREAM %v", got, err, body, code)
		}
	}
}

// wantLost wants the whole connection gone.
func wantLost(t *testing.T, got string, err error) {
	t.Helper()
	if _, ok := errors.AsType[http2.StreamError](err); err == nil || ok {
		t.Errorf("got %q and %v, want the connection lost", got, err)
	}
}

// The same seed breaks the same bytes, however they come.
func TestCorruptIsIndependentOfPieces(t *testing.T) {
	plan := &fixtures.Plan{Fault: &fixtures.Fault{Kind: fixtures.FaultCorrupt, Share: 0.1, Seed: 7}}
	corrupt := func(size int) []byte {
		b, out := newBend(plan, int64(len(long))), []byte(nil)
		for rest := long; len(rest) > 0; {
			part := rest[:min(size, len(rest))]
			rest = rest[len(part):]
			for b.begin(); len(part) > 0; {
				piece, _ := b.take(&part)
				bad, _ := b.corrupted(piece)
				out = append(out, bad...)
			}
		}
		return out
	}
	whole := corrupt(len(long))
	for _, size := range []int{1, 7, 4096} {
		if !bytes.Equal(corrupt(size), whole) {
			t.Errorf("in pieces of %d other bytes are broken than in one", size)
		}
	}
	flips := 0
	for i := range whole {
		if d := whole[i] ^ long[i]; d != 0 {
			flips++
			if d&(d-1) != 0 {
				t.Fatalf("byte %d: more than one bit differs: %08b", i, d)
			}
		}
	}
	if share := float64(flips) / float64(len(long)); share < 0.09 || share > 0.11 {
		t.Errorf("share of broken bytes = %.3f, want 0.1", share)
	}
}

func TestCorruptOverTheWire(t *testing.T) {
	g := newRig(t, origin(t, "h1", kitchen), recording, planning(faulty(fixtures.Fault{Kind: fixtures.FaultCorrupt, Share: 1, Seed: 1})))
	c, base := g.client("h2")
	resp := get(t, c, base+"/long")
	if len(resp.body) != len(long) || resp.body == string(long) || resp.err != nil {
		t.Errorf("%d bytes, broken: %v, %v; want %d broken ones", len(resp.body), resp.body != string(long), resp.err, len(long))
	}
	x := g.books.exchange(t, 1)
	if k := g.books.tapes[0]; x.Outcome != fixtures.OutcomeFault || !bytes.Equal(k.resp, long) {
		t.Errorf("outcome %q; the record is broken, too: %v", x.Outcome, !bytes.Equal(k.resp, long))
	}
}

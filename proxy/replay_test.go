package proxy

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/understudy-proxy/understudy/fixtures"
)

func recorded(body fixtures.Body, h ...fixtures.Field) *fixtures.Answer {
	if body.Size == 0 {
		body.Size = int64(len(body.Bytes))
	}
	return &fixtures.Answer{Source: "c#1", FirstByte: 40 * ms,
		Response: &fixtures.Response{Proto: "HTTP/1.1", Status: 200, Reason: "Fine", Header: h, Body: body}}
}

func TestReplayKeepsTheRhythm(t *testing.T) {
	frames := []fixtures.Frame{{At: 50 * ms, Size: 2}, {At: 150 * ms, Size: 1}, {At: 150 * ms, Size: 0}, {At: 450 * ms, Size: 3}}
	for _, tc := range []struct {
		name   string
		o      Options
		answer *fixtures.Answer
		head   int
		want   []part
	}{
		{"recorded", Options{Rhythm: true}, recorded(fixtures.Body{Bytes: []byte("abcdef"), Frames: frames, Chunked: true}), 40,
			[]part{{50 * ms, "ab", nil}, {150 * ms, "c", nil}, {450 * ms, "def", nil}}},
		{"twice as fast", Options{Rhythm: true, Speed: 2}, recorded(fixtures.Body{Bytes: []byte("abcdef"), Frames: frames}), 20,
			[]part{{25 * ms, "ab", nil}, {75 * ms, "c", nil}, {225 * ms, "def", nil}}},
		{"held", Options{Rhythm: true, Planner: always(fixtures.Plan{HoldRequest: 100 * ms})}, recorded(fixtures.Body{Bytes: []byte("abcdef"), Frames: frames}), 140,
			[]part{{150 * ms, "ab", nil}, {250 * ms, "c", nil}, {550 * ms, "def", nil}}},
		{"at once", Options{}, recorded(fixtures.Body{Bytes: []byte("abcdef"), Frames: frames}), 0, []part{{0, "abcdef", nil}}},
		{"without frames", Options{Rhythm: true}, recorded(fixtures.Body{Bytes: []byte("abcdef")}), 40, []part{{40 * ms, "abcdef", nil}}},
		{"frames that lack bytes", Options{Rhythm: true}, recorded(fixtures.Body{Bytes: []byte("abcdef"), Frames: frames[:2]}), 40,
			[]part{{50 * ms, "ab", nil}, {150 * ms, "cdef", nil}}},
		{"a stub's own delay", Options{}, &fixtures.Answer{Source: "stub s", FirstByte: 20 * ms, Stub: true,
			Response: &fixtures.Response{Status: 200, Body: fixtures.Body{Bytes: []byte("x"), Size: 1}}}, 20, []part{{20 * ms, "x", nil}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tc.o.Responder = answering(tc.answer)
				b := newBubble(t, tc.o)
				b.send(getSlash)
				resp, at := b.response()
				if at.Milliseconds() != int64(tc.head) {
					t.Errorf("the head came after %v, want %dms", at, tc.head)
				}
				got, _ := b.rhythm(resp)
				sameRhythm(t, got, tc.want...)
				if x := b.done(); x.Source != tc.answer.Source || x.Response.Body.Size != tc.answer.Response.Body.Size || x.Outcome != "" {
					t.Errorf("source %q, size %d, outcome %q", x.Source, x.Response.Body.Size, x.Outcome)
				}
			})
		})
	}
}

func TestReplayOnTheWire(t *testing.T) {
	chunks := fixtures.Body{Bytes: []byte("abcdef"), Frames: []fixtures.Frame{{Size: 2}, {Size: 4}}, Chunked: true}
	cut := fixtures.Body{Bytes: []byte("abc"), CutShort: true}
	withTrailer := recorded(chunks, fixtures.Field{Name: "Trailer", Value: "X-Sum"})
	withTrailer.Response.Trailer = fixtures.Header{{Name: "X-Sum", Value: "6"}}
	informed := recorded(fixtures.Body{})
	informed.Response.Informational = []fixtures.Informational{{Status: 103, Header: fixtures.Header{{Name: "Link", Value: "</a>"}}}}
	none := recorded(fixtures.Body{})
	none.Response.Status, none.Response.Reason = 204, "None"
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	fromFile := recorded(fixtures.Body{Size: 11})
	fromFile.Open = func() (io.ReadCloser, error) { return os.Open(file) }
	short := recorded(fixtures.Body{Size: 20})
	short.Open = fromFile.Open
	unopened := recorded(fixtures.Body{Size: 20})
	unopened.Open = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	for _, tc := range []struct {
		name   string
		method string
		answer *fixtures.Answer
		want   string
		out    fixtures.Outcome
	}{
		{"chunks", "GET", recorded(chunks), "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n4\r\ncdef\r\n0\r\n\r\n", ""},
		{"trailer", "GET", withTrailer, "HTTP/1.1 200 Fine\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n4\r\ncdef\r\n0\r\nX-Sum: 6\r\n\r\n", ""},
		{"HEAD", "HEAD", recorded(fixtures.Body{}, fixtures.Field{Name: "Content-Length", Value: "99"}), "HTTP/1.1 200 Fine\r\nContent-Length: 99\r\nConnection: close\r\n\r\n", ""},
		{"204", "GET", none, "HTTP/1.1 204 None\r\nConnection: close\r\n\r\n", ""},
		{"103", "GET", informed, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 Fine\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", ""},
		{"cut short", "GET", recorded(cut, fixtures.Field{Name: "Content-Length", Value: "9"}), "HTTP/1.1 200 Fine\r\nContent-Length: 9\r\nConnection: close\r\n\r\nabc", ""},
		{"from file", "GET", fromFile, "HTTP/1.1 200 Fine\r\nContent-Length: 11\r\nConnection: close\r\n\r\nfrom a file", ""},
		{"file too short", "GET", short, "HTTP/1.1 200 Fine\r\nContent-Length: 20\r\nConnection: close\r\n\r\n", fixtures.OutcomeMiss},
		{"file gone", "GET", unopened, "HTTP/1.1 500 Internal Server Error\r\n", fixtures.OutcomeMiss},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newRig(t, "http://up.test", responding(answering(tc.answer)))
			got, _ := g.ask(tc.method + " / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if got != tc.want && (tc.out == "" || !strings.HasPrefix(got, tc.want)) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
			if x := g.books.exchange(t, 1); x.Outcome != tc.out {
				t.Errorf("outcome %q (%s), want %q", x.Outcome, x.Error, tc.out)
			}
		})
	}
}

func TestReplayEveryTransport(t *testing.T) {
	a := recorded(fixtures.Body{Bytes: long, Frames: []fixtures.Frame{{Size: 1000}, {Size: len(long) - 1000}}})
	for _, mode := range clientModes {
		t.Run(mode, func(t *testing.T) {
			g := newRig(t, "http://up.test", responding(answering(a)))
			c, base := g.client(mode)
			resp, err := c.Post(base+"/", "text/plain", strings.NewReader(string(long)))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != string(long) {
				t.Errorf("%d bytes, %v", len(body), err)
			}
			if x := g.books.exchange(t, 1); x.Request.Body.Size != int64(len(long)) || x.Times.End < x.Times.FirstByte || x.Times.End == 0 {
				t.Errorf("request %d bytes, times %+v", x.Request.Body.Size, x.Times)
			}
		})
	}
}

// A miss names the nearest and the differences, and gives no secret away but to
// the client whose it is.
func TestMissFails(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	miss := func(x *Exchange) (*fixtures.Answer, error) {
		return nil, &fixtures.MissError{Method: "GET", URL: x.Request.URL(), Nearest: "c#7",
			Differences: []fixtures.Difference{{Field: "query.api_key", Want: "old-hush", Got: "hush-hush"}, {Field: "query.page", Want: "1", Got: "2"}}}
	}
	g := newRig(t, "http://up.test", responding(miss), tune(func(o *Options) { o.Log = zap.New(core) }))
	c, base := g.client("h1")
	resp := get(t, c, base+"/items?api_key=hush-hush&page=2")
	var doc struct {
		Status      int
		Nearest     string
		Differences []fixtures.Difference
	}
	if err := json.Unmarshal([]byte(resp.body), &doc); err != nil || doc.Status != 502 || doc.Nearest != "c#7" || len(doc.Differences) != 2 {
		t.Errorf("body %s: %v, %+v", resp.body, err, doc)
	}
	if head := resp.Header.Get(MissField); resp.StatusCode != 502 || !strings.Contains(head, "c#7") || resp.Header.Get("Understudy-Error") == "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	x := g.books.exchange(t, 1)
	if x.Outcome != fixtures.OutcomeMiss || x.Miss == nil || x.Source != "" {
		t.Errorf("outcome %q, miss %v, source %q", x.Outcome, x.Miss, x.Source)
	}
	for _, f := range []string{"hush-hush", "old-hush"} {
		for name, values := range resp.Header {
			if strings.Contains(strings.Join(values, " "), f) {
				t.Errorf("field %s gives the secret away: %q", name, values)
			}
		}
		for _, e := range logs.All() {
			for k, v := range e.ContextMap() {
				if s, ok := v.(string); ok && strings.Contains(s, f) {
					t.Errorf("log %q gives the secret away in %s: %s", e.Message, k, s)
				}
			}
		}
	}
}

// A forwarded miss takes its body along, whether it was read ahead or not.
func TestMissForwards(t *testing.T) {
	for _, readAhead := range []bool{false, true} {
		for _, policy := range []MissPolicy{MissForward, MissRecord} {
			asked := fixtures.Body{}
			miss := func(x *Exchange) (*fixtures.Answer, error) {
				asked = x.Request.Body
				return nil, &fixtures.MissError{}
			}
			g := newRig(t, origin(t, "h1", kitchen), responding(miss), recording,
				planning(&planned{needsBody: readAhead}), tune(func(o *Options) { o.OnMiss, o.BodyLimit = policy, 1000 }))
			c, base := g.client("h1")
			resp, err := c.Post(base+"/echo", "text/plain", strings.NewReader(string(long)))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			if string(body) != string(long) {
				t.Errorf("read ahead %v: echo has %d bytes, want %d", readAhead, len(body), len(long))
			}
			x := g.books.exchange(t, 1)
			if x.Recording != (policy == MissRecord) || x.Miss == nil || x.Source != "upstream" || x.Request.Body.CutShort {
				t.Errorf("policy %d: recording %v, source %q, cut %v", policy, x.Recording, x.Source, x.Request.Body.CutShort)
			}
			if readAhead && (len(asked.Bytes) != 1000 || asked.Size != int64(len(long))) {
				t.Errorf("a matcher sees %d bytes of %d, want the first 1000 of %d", len(asked.Bytes), asked.Size, len(long))
			}
			g.stop() // its audit compares the tape with the record
		}
	}
}

func TestNobodyToAnswer(t *testing.T) {
	g := newRig(t, "http://up.test", tune(func(o *Options) { o.Upstream = nil }))
	c, base := g.client("h2c")
	if resp := get(t, c, base+"/"); resp.StatusCode != http.StatusBadGateway || !json.Valid([]byte(resp.body)) {
		t.Errorf("%d %s", resp.StatusCode, resp.body)
	}
}

// A stub's own fault strikes, and gives way to one of the rules.
func TestStubsFault(t *testing.T) {
	for _, rules := range []bool{false, true} {
		a := recorded(fixtures.Body{Bytes: []byte("never")})
		a.Stub, a.Fault = true, &fixtures.Fault{Kind: fixtures.FaultClose}
		with := []config{responding(func(*Exchange) (*fixtures.Answer, error) { return a, nil })}
		if rules {
			with = append(with, planning(&planned{plan: func(*Exchange) fixtures.Plan {
				return fixtures.Plan{Fault: &fixtures.Fault{Kind: fixtures.FaultStatus, Status: 503}}
			}}))
		}
		g := newRig(t, "http://up.test", with...)
		c, base := g.client("h1")
		resp, err := c.Get(base + "/")
		if rules {
			if err != nil || resp.StatusCode != 503 {
				t.Errorf("beside a rule's fault: %v, %v, want the rule's 503", resp, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("status %d, want the connection closed without an answer", resp.StatusCode)
		}
		if x := g.books.exchange(t, 1); x.Outcome != fixtures.OutcomeFault || !x.Stub {
			t.Errorf("outcome %v, stub %t, want a stub's fault", x.Outcome, x.Stub)
		}
		g.stop()
	}
}

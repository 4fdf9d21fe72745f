package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// timed is an upstream of a bubble: it answers after wait, with parts at their times.
type timed struct {
	wait  time.Duration
	parts []part
	left  chan struct{} // closed when a request was cancelled
}

type part struct {
	after time.Duration // since the part before
	text  string
	err   error // ends the body in place of EOF
}

func (u *timed) RoundTrip(ctx context.Context, r *wire.Request) (*wire.Response, error) {
	if r.Body != nil {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, &wire.UpstreamError{Op: "write", Addr: r.Host, Err: err}
		}
	}
	sent := time.Now()
	select {
	case <-time.After(u.wait):
	case <-ctx.Done():
		close(u.left)
		return nil, &wire.UpstreamError{Op: "read", Addr: r.Host, Err: ctx.Err()}
	}
	return &wire.Response{
		Proto: "HTTP/1.1", Status: 200, Reason: "OK", Chunked: true, Length: -1, Body: &timedBody{ctx, u, u.parts},
		Header: fixtures.Header{{Name: "Transfer-Encoding", Value: "chunked"}},
		Trace:  wire.Trace{SentAt: sent, FirstAt: time.Now()},
	}, nil
}

type timedBody struct {
	ctx   context.Context
	u     *timed
	parts []part
}

func (b *timedBody) Read(p []byte) (int, error) {
	if len(b.parts) == 0 {
		return 0, io.EOF
	}
	next := b.parts[0]
	b.parts = b.parts[1:]
	select {
	case <-time.After(next.after):
	case <-b.ctx.Done():
		close(b.u.left)
		return 0, b.ctx.Err()
	}
	return copy(p, next.text), next.err
}
func (b *timedBody) Close() error { return nil }

// bubble is a door within a synctest bubble, and one client on a pipe.
type bubble struct {
	t      *testing.T
	client net.Conn
	br     *bufio.Reader
	books  *books
	p      *Pipeline
	begin  time.Time
	door   *site
}

func newBubble(t *testing.T, o Options) *bubble {
	t.Helper()
	b := &bubble{t: t, books: newBooks(), begin: time.Now()}
	o.Observer = b.books
	b.p = NewPipeline(o)
	b.door = &site{Server: &Server{Pipeline: b.p, Observer: b.books}, name: "pipe", to: &url.URL{Scheme: "http", Host: "up.test"}, log: zap.NewNop()}
	return b.another()
}

// another is one more client of b's door.
func (b *bubble) another() *bubble {
	more := *b
	var ours net.Conn
	more.client, ours = net.Pipe()
	more.br = bufio.NewReader(more.client)
	go b.door.take(b.t.Context(), ours) // ends with the client
	return &more
}

func (b *bubble) send(raw string) {
	b.t.Helper()
	if _, err := io.WriteString(b.client, raw); err != nil {
		b.t.Fatal(err)
	}
}

// response reads a head and tells when it came.
func (b *bubble) response() (*http.Response, time.Duration) {
	b.t.Helper()
	resp, err := http.ReadResponse(b.br, nil)
	if err != nil {
		b.t.Fatalf("after %v: %v", time.Since(b.begin), err)
	}
	return resp, time.Since(b.begin)
}

// rhythm reads a body and tells when each read gave what.
func (b *bubble) rhythm(resp *http.Response) (frames []part, err error) {
	buf := make([]byte, 4096)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			frames = append(frames, part{after: time.Since(b.begin), text: string(buf[:n])})
		}
		if err != nil {
			return frames, err
		}
	}
}

func sameRhythm(t *testing.T, got []part, want ...part) {
	t.Helper()
	ok := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		ok = ok && got[i].after == want[i].after && got[i].text == want[i].text
	}
	if !ok {
		t.Errorf("rhythm = %v, want %v", got, want)
	}
}

// done closes the client, and checks that every moment is accounted for: in a
// bubble computing takes no time, so nothing may be left for our own.
func (b *bubble) done() *Exchange {
	b.t.Helper()
	_ = b.client.Close()
	synctest.Wait()
	b.books.audit(b.t)
	if n := b.p.InFlight(); n != 0 {
		b.t.Errorf("InFlight() = %d, want 0", n)
	}
	x := b.books.all[len(b.books.all)-1]
	if x.Times.Own != 0 {
		b.t.Errorf("own time = %v of %v (upstream %v, injected %v), want 0", x.Times.Own, x.Total, x.Upstream, x.Times.Injected)
	}
	return x
}

const ms = time.Millisecond

func TestHoldsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, Options{
			Upstream: &timed{wait: 30 * ms, parts: []part{{20 * ms, "a", nil}, {10 * ms, "b", nil}}},
			Planner:  always(fixtures.Plan{HoldRequest: 50 * ms, HoldFirstByte: 100 * ms}),
		})
		b.send(getSlash)
		resp, at := b.response()
		if at != 180*ms {
			t.Errorf("the head came after %v, want 180ms", at)
		}
		got, _ := b.rhythm(resp)
		sameRhythm(t, got, part{200 * ms, "a", nil}, part{210 * ms, "b", nil})
		x := b.done()
		if x.Times.Injected != 150*ms || x.Upstream != 60*ms || x.Total != 210*ms || x.Times.FirstByte != 80*ms {
			t.Errorf("injected %v, upstream %v, total %v, first byte %v", x.Times.Injected, x.Upstream, x.Total, x.Times.FirstByte)
		}
	})
}

// whole is an upstream of a bubble whose answers come whole, body and all, after
// wait. It tells when each was read to its end, so that its connection was free.
type whole struct {
	wait  time.Duration
	freed []time.Time
}

func (u *whole) RoundTrip(_ context.Context, _ *wire.Request) (*wire.Response, error) {
	sent := time.Now()
	time.Sleep(u.wait)
	return &wire.Response{
		Proto: "HTTP/1.1", Status: 200, Reason: "OK", Length: 2, Body: &wholeBody{u: u, left: "ok"},
		Header: fixtures.Header{{Name: "Content-Length", Value: "2"}},
		Trace:  wire.Trace{SentAt: sent, FirstAt: time.Now()},
	}, nil
}

type wholeBody struct {
	u    *whole
	left string
}

func (b *wholeBody) Read(p []byte) (int, error) {
	n := copy(p, b.left)
	b.left = b.left[n:]
	if b.left == "" {
		b.u.freed = append(b.u.freed, time.Now())
		return n, io.EOF
	}
	return n, nil
}

func (b *wholeBody) ReadHere(room func(n int) []byte) ([]byte, error) {
	p := room(len(b.left))
	n, err := b.Read(p)
	return p[:n], err
}
func (b *wholeBody) Close() error { return nil }

// While an answer is held that came whole, its connection to the upstream is free for
// others: very many held at once do not take as many. What is recorded is when it came.
func TestHeldAnswersKeepNoConnection(t *testing.T) {
	for _, plan := range []fixtures.Plan{
		{HoldFirstByte: 5 * time.Second}, {HoldTotal: 5*time.Second + 30*ms},
		{HoldFirstByte: 5 * time.Second, NeedsResponse: true, Fault: &fixtures.Fault{Kind: fixtures.FaultStatus, Status: 503, Body: []byte("no")}},
	} {
		synctest.Test(t, func(t *testing.T) {
			up := &whole{wait: 30 * ms}
			o := Options{Upstream: up, Planner: always(plan)}
			if plan.NeedsResponse {
				o.Planner = &planned{response: func(*Exchange) fixtures.Plan { return plan }}
			}
			b := newBubble(t, o)
			b.p.o.Recorder = b.books
			b.send(getSlash)
			resp, at := b.response()
			got, _ := b.rhythm(resp)
			if at != 5*time.Second+30*ms || len(got) != 1 || len(up.freed) != 1 {
				t.Fatalf("%v in %d parts, read to its end %d times, want 5.03s, 1 and 1", at, len(got), len(up.freed))
			}
			if free := up.freed[0].Sub(b.begin); free != 30*ms {
				t.Errorf("the connection was free after %v, want 30ms", free)
			}
			x := b.done()
			if f := x.Response.Body.Frames; x.Times.End != 30*ms || len(f) != 1 || f[0].At != 30*ms || f[0].Size != 2 || x.Response.Body.CutShort {
				t.Errorf("recorded: end at %v, frames %v, cut short %v, want 30ms, all at 30ms, false", x.Times.End, f, x.Response.Body.CutShort)
			}
			if x.Times.Injected != 5*time.Second || x.Upstream != 30*ms || x.ClientTime != 0 || x.DelayError != 0 {
				t.Errorf("injected %v, upstream %v, client %v, error %v, want 5s, 30ms, 0s, 0s", x.Times.Injected, x.Upstream, x.ClientTime, x.DelayError)
			}
		})
	}
}

// What a request's own slowness took is no reason to hold it longer, and it is
// booked as the client's.
func TestHoldCountsFromTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, Options{
			Upstream: &timed{wait: 10 * ms},
			Planner:  &planned{needsBody: true, plan: func(*Exchange) fixtures.Plan { return fixtures.Plan{HoldRequest: 50 * ms} }},
		})
		b.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
		time.Sleep(30 * ms)
		b.send("cd")
		_, at := b.response()
		if at != 90*ms {
			t.Errorf("the head came after %v, want 30 + 50 + 10ms", at)
		}
		if x := b.done(); x.Times.RequestRead != 30*ms || x.Times.Injected != 50*ms || x.Upstream != 10*ms {
			t.Errorf("request read at %v, injected %v, upstream %v", x.Times.RequestRead, x.Times.Injected, x.Upstream)
		}
	})
}

// While the upload is under way, it is the client that is waited for.
func TestUploadIsTheClientsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, Options{Upstream: &timed{wait: 10 * ms}})
		b.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
		time.Sleep(300 * ms)
		b.send("cd")
		b.response()
		if x := b.done(); x.Upstream != 10*ms || x.Total != 310*ms || x.Times.UpstreamSent != 300*ms {
			t.Errorf("upstream %v of %v, sent at %v; want 10ms of 310ms, 300ms", x.Upstream, x.Total, x.Times.UpstreamSent)
		}
	})
}

// A total is what the client waits in all: what was spent until then is within
// it, and where that is more nothing is added.
func TestTotalDeductsWhatWasSpent(t *testing.T) {
	for _, test := range []struct {
		plan           fixtures.Plan
		upstream       time.Duration
		head, injected time.Duration
	}{
		{fixtures.Plan{HoldTotal: 100 * ms}, 30 * ms, 100 * ms, 70 * ms},
		{fixtures.Plan{HoldTotal: 100 * ms}, 130 * ms, 130 * ms, 0},
		{fixtures.Plan{HoldTotal: 100 * ms, HoldRequest: 50 * ms}, 30 * ms, 100 * ms, 70 * ms},
		{fixtures.Plan{HoldTotal: 100 * ms, HoldFirstByte: 90 * ms}, 30 * ms, 120 * ms, 90 * ms},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t, Options{Upstream: &timed{wait: test.upstream}, Planner: always(test.plan)})
			b.send(getSlash)
			if _, at := b.response(); at != test.head {
				t.Errorf("%+v over %v: the head came after %v, want %v", test.plan, test.upstream, at, test.head)
			}
			if x := b.done(); x.Times.Injected != test.injected || x.Upstream != test.upstream {
				t.Errorf("%+v over %v: injected %v, upstream %v, want %v injected", test.plan, test.upstream, x.Times.Injected, x.Upstream, test.injected)
			}
		})
	}
}

// It counts from the request's end, and holds for an answer of our own too.
func TestTotalCountsFromTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, Options{Planner: &planned{needsBody: true, plan: func(*Exchange) fixtures.Plan {
			return fixtures.Plan{HoldTotal: 50 * ms, Fault: &fixtures.Fault{Kind: fixtures.FaultStatus, Status: 503}}
		}}})
		b.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
		time.Sleep(30 * ms)
		b.send("cd")
		if _, at := b.response(); at != 80*ms {
			t.Errorf("503 came after %v, want 30 + 50ms", at)
		}
		b.done()
	})
}

func TestFaultStatusAfterHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, Options{Planner: always(fixtures.Plan{HoldRequest: 50 * ms, HoldFirstByte: 20 * ms,
			Fault: &fixtures.Fault{Kind: fixtures.FaultStatus, Status: 503}})})
		b.send(getSlash)
		if _, at := b.response(); at != 70*ms {
			t.Errorf("503 came after %v, want 70ms", at)
		}
		b.done()
	})
}

func TestThrottleIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, Options{
			Upstream: &timed{parts: []part{{0, strings.Repeat("x", 1500), nil}, {0, strings.Repeat("y", 500), nil}}},
			Planner:  always(fixtures.Plan{BytesPerSecond: 1000}),
		})
		b.send(getSlash)
		resp, at := b.response()
		got, _ := b.rhythm(resp)
		if last := got[len(got)-1].after; at != 0 || last != 2*time.Second {
			t.Errorf("head at %v, last byte at %v, want 0 and 2s", at, last)
		}
		var n time.Duration
		for _, f := range got {
			if n += time.Duration(len(f.text)); f.after != n*ms {
				t.Fatalf("%d bytes were there at %v, want 1000 a second", n, f.after)
			}
		}
		b.done()
	})
}

// Time in which there was nothing to send cannot be caught up.
func TestThrottleHoldsAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, Options{
			Upstream: &timed{parts: []part{{0, strings.Repeat("x", 100), nil}, {5 * time.Second, strings.Repeat("y", 100), nil}}},
			Planner:  always(fixtures.Plan{BytesPerSecond: 1000}),
		})
		b.send(getSlash)
		resp, _ := b.response()
		got, _ := b.rhythm(resp)
		if last := got[len(got)-1].after; last != 5200*ms {
			t.Errorf("last byte at %v, want 5.2s", last)
		}
		if x := b.done(); x.Times.Injected != 200*ms {
			t.Errorf("injected %v, want 200ms", x.Times.Injected)
		}
	})
}

func TestDripKeepsItsBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, Options{
			Upstream: &timed{parts: []part{{0, "abc", nil}, {0, "defg", nil}}},
			Planner:  always(fixtures.Plan{Drip: &fixtures.Drip{Bytes: 2, Every: 100 * ms}}),
		})
		b.send(getSlash)
		resp, _ := b.response()
		got, _ := b.rhythm(resp)
		sameRhythm(t, got, part{0, "ab", nil}, part{100 * ms, "c", nil}, part{100 * ms, "d", nil}, part{200 * ms, "ef", nil}, part{300 * ms, "g", nil})
		b.done()
	})
}

func TestHangEndsInTime(t *testing.T) {
	for _, raw := range []string{getSlash, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t, Options{Planner: faulty(fixtures.Fault{Kind: fixtures.FaultHang, For: 30 * time.Second})})
			b.send(raw)
			if _, err := b.br.ReadByte(); err != io.EOF || time.Since(b.begin) != 30*time.Second {
				t.Errorf("%v after %v, want the end after 30s", err, time.Since(b.begin))
			}
			if x := b.done(); x.Times.Injected != 30*time.Second || x.Outcome != fixtures.OutcomeFault {
				t.Errorf("injected %v, outcome %q", x.Times.Injected, x.Outcome)
			}
		})
	}
}

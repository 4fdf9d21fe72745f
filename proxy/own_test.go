package proxy

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

const µs = time.Microsecond

// busy is an upstream, a planner and a responder that take their time over what is
// our own work: in a bubble a sleep stands for it.
type busy struct {
	plan, match, send, parse time.Duration
	planned                  fixtures.Plan
	found                    *fixtures.Answer
}

func (b *busy) Door(*wire.Conn, string) (r fixtures.Refusal, rule string) { return r, "" }
func (b *busy) NeedsBody(*Exchange) bool                                  { return false }
func (b *busy) PlanResponse(x *Exchange) fixtures.Plan                    { return x.Plan }
func (b *busy) Plan(*Exchange) fixtures.Plan {
	time.Sleep(b.plan)
	return b.planned
}

func (b *busy) Respond(*Exchange) (*fixtures.Answer, error) {
	time.Sleep(b.match)
	return b.found, nil
}

// RoundTrip sends for send, and an answer comes 20 ms later, which takes parse to read.
func (b *busy) RoundTrip(_ context.Context, _ *wire.Request) (*wire.Response, error) {
	time.Sleep(3*ms + b.send)
	sent := time.Now()
	time.Sleep(20 * ms)
	first := time.Now()
	time.Sleep(b.parse)
	return &wire.Response{Proto: "HTTP/1.1", Status: 200, Length: 2, Body: io.NopCloser(strings.NewReader("ok")),
		Trace: wire.Trace{Connect: 2 * ms, TLS: ms, SentAt: sent, FirstAt: first}}, nil
}

// ownIn runs one exchange in a bubble and returns what the books say of it.
func ownIn(t *testing.T, o Options) (x *Exchange, timing string) {
	t.Helper()
	o.ServerTiming = true
	b := newBubble(t, o)
	b.send(getSlash)
	x, resp := b.booked()
	return x, resp.Header.Get("Server-Timing")
}

// booked reads the answer, ends the connection and returns what the books say.
func (b *bubble) booked() (*Exchange, *http.Response) {
	b.t.Helper()
	resp, _ := b.response()
	if _, err := b.rhythm(resp); err != io.EOF {
		b.t.Fatal(err)
	}
	_ = b.client.Close()
	synctest.Wait()
	b.books.audit(b.t)
	return b.books.all[0], resp
}

func TestOwnTimeByStage(t *testing.T) {
	for _, test := range []struct {
		name     string
		work     busy
		replay   bool
		own      fixtures.OwnTimes
		upstream time.Duration
		injected time.Duration
		timing   string
	}{
		{"asking the upstream", busy{plan: 40 * µs, send: 300 * µs, parse: 90 * µs}, false,
			fixtures.OwnTimes{fixtures.StagePlan: 40 * µs, fixtures.StageSend: 300 * µs, fixtures.StageAnswer: 90 * µs}, 23 * ms, 0,
			"own;dur=0.430, upstream;dur=23.000, injected;dur=0.000, client;dur=0.000, own-plan;dur=0.040, own-send;dur=0.300, own-answer;dur=0.090"},
		{"sending that waits", busy{send: 7 * ms}, false, fixtures.OwnTimes{}, 30 * ms, 0,
			"own;dur=0.000, upstream;dur=30.000, injected;dur=0.000, client;dur=0.000"},
		{"held", busy{plan: 40 * µs, send: 300 * µs, planned: fixtures.Plan{HoldRequest: 10 * ms, HoldFirstByte: 5 * ms}}, false,
			fixtures.OwnTimes{fixtures.StagePlan: 40 * µs, fixtures.StageSend: 300 * µs}, 23 * ms, 15*ms - 40*µs,
			"own;dur=0.340, upstream;dur=23.000, injected;dur=14.960, client;dur=0.000, own-plan;dur=0.040, own-send;dur=0.300"},
		{"playing", busy{plan: 40 * µs, match: 60 * µs, found: textAnswer("ok")}, true,
			fixtures.OwnTimes{fixtures.StagePlan: 40 * µs, fixtures.StageAnswer: 60 * µs}, 0, 0,
			"own;dur=0.100, upstream;dur=0.000, injected;dur=0.000, client;dur=0.000, own-plan;dur=0.040, own-answer;dur=0.060"},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := Options{Planner: &test.work, Upstream: &test.work}
			if test.replay {
				o.Responder = &test.work
			}
			x, timing := ownIn(t, o)
			if x.Own != test.own || x.Upstream != test.upstream || x.Times.Injected != test.injected {
				t.Errorf("%s: own %v, upstream %v, injected %v, want %v, %v, %v", test.name, x.Own, x.Upstream, x.Times.Injected, test.own, test.upstream, test.injected)
			}
			if timing != test.timing {
				t.Errorf("%s: Server-Timing: %s\nwant %s", test.name, timing, test.timing)
			}
		})
	}
}

// What a client takes to send its request's head is its own time, and delays count from
// the head's end.
func TestSlowHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		work := busy{plan: 40 * µs, planned: fixtures.Plan{HoldRequest: 10 * ms}}
		b := newBubble(t, Options{Planner: &work, Upstream: &work})
		for i, piece := range []string{"GET / HT", "TP/1.1\r\nHost: x\r\n", "\r\n"} {
			if i > 0 {
				time.Sleep(200 * ms)
			}
			b.send(piece)
		}
		x, _ := b.booked()
		if own := (fixtures.OwnTimes{fixtures.StagePlan: 40 * µs}); x.Own != own || x.ClientTime != 400*ms || x.Times.RequestRead != 400*ms {
			t.Errorf("own %v, the client's %v, read after %v; want %v, 400ms, 400ms", x.Own, x.ClientTime, x.Times.RequestRead, own)
		}
		if want := 10*ms - 40*µs; x.Times.Injected != want || x.DelayError != 0 {
			t.Errorf("held for %v, %v beyond what was asked; want %v, 0s", x.Times.Injected, x.DelayError, want)
		}
	})
}

// A delay is kept to the moment, or missed by what our own work took beyond it. What the
// upstream took beyond a total is no error.
func TestDelayErrors(t *testing.T) {
	stub := textAnswer("ok")
	stub.FirstByte, stub.Stub = 5*ms, true
	for _, test := range []struct {
		name    string
		work    busy
		replay  bool
		delayed bool
		by      time.Duration
	}{
		{"nothing asked", busy{plan: ms}, false, false, 0},
		{"kept", busy{plan: 4 * ms, planned: fixtures.Plan{HoldRequest: 10 * ms}}, false, true, 0},
		{"planned too long", busy{plan: 12 * ms, planned: fixtures.Plan{HoldRequest: 10 * ms}}, false, true, 2 * ms},
		{"and made good by a total", busy{plan: 12 * ms, planned: fixtures.Plan{HoldRequest: 10 * ms, HoldTotal: 50 * ms}}, false, true, 0},
		{"but not by another delay", busy{plan: 12 * ms, parse: 6 * ms, planned: fixtures.Plan{HoldRequest: 10 * ms, HoldFirstByte: 5 * ms}}, false, true, 3 * ms},
		{"total, over", busy{planned: fixtures.Plan{HoldTotal: 10 * ms}}, false, false, 0},
		{"total, over while the answer was read", busy{parse: 9 * ms, planned: fixtures.Plan{HoldTotal: 30 * ms}}, false, true, 2 * ms},
		{"a stub's, kept", busy{plan: ms, match: 2 * ms, found: stub}, true, true, 0},
		{"a stub's, missed", busy{plan: ms, match: 6 * ms, found: stub}, true, true, 2 * ms},
		{"a stub's, and a rule's", busy{match: 6 * ms, found: stub, planned: fixtures.Plan{HoldFirstByte: 5 * ms}}, true, true, 0},
		{"no pace", busy{match: 6 * ms, found: textAnswer("ok")}, true, false, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := Options{Planner: &test.work, Upstream: &test.work}
			if test.replay {
				o.Responder = &test.work
			}
			if x, _ := ownIn(t, o); x.Delayed != test.delayed || x.DelayError != test.by {
				t.Errorf("%s: delayed %v, by %v too much, want %v, %v", test.name, x.Delayed, x.DelayError, test.delayed, test.by)
			}
		})
	}
}

// Waits that lap over the end of a stage must not make another one negative, nor the parts
// more or less than the whole.
func TestOwnTimeOfLappingWaits(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for n := range 1000 {
		start := time.Now()
		v := &visit{start: start}
		v.own.since = start
		at := start
		for range r.IntN(6) {
			*[]*time.Duration{&v.client, &v.upstream, &v.injected, &v.paced}[r.IntN(4)] += time.Duration(r.IntN(50))
			at = at.Add(time.Duration(r.IntN(40)))
			v.turn(fixtures.Stage(r.IntN(fixtures.Stages)), at)
		}
		end := at.Add(time.Duration(r.IntN(40)))
		got, want := v.ownUntil(end), max(0, end.Sub(start)-v.waited())
		for _, d := range got {
			if d < 0 {
				t.Fatalf("%d: own time by stage %v", n, got)
			}
		}
		if got.Sum() != want {
			t.Fatalf("%d: own time by stage %v is %v, want %v", n, got, got.Sum(), want)
		}
	}
}

// Every millisecond is booked: whatever an exchange goes through, upstream's, injected,
// own and the client's time are the whole. In a bubble our own work takes no time but
// what the planner and the choice are made to take.
func TestEveryMillisecondIsBooked(t *testing.T) {
	kinds := map[string]int{}
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			upTo := func(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d)) + 1) }
			sometimes := func(f func()) {
				if r.IntN(3) == 0 {
					f()
				}
			}
			work := &busy{}
			sometimes(func() { work.plan = upTo(ms) })
			plan := &work.planned
			sometimes(func() { plan.HoldRequest = upTo(50 * ms) })
			sometimes(func() { plan.HoldFirstByte = upTo(50 * ms) })
			sometimes(func() { plan.HoldTotal = upTo(200 * ms) })
			sometimes(func() { plan.BytesPerSecond = 1 + r.Float64()*1000 })
			sometimes(func() { plan.Drip = &fixtures.Drip{Bytes: 1 + r.IntN(9), Every: upTo(9 * ms)} })
			sometimes(func() {
				plan.Fault = &[]fixtures.Fault{
					{Kind: fixtures.FaultStatus, Status: 503, Body: []byte("no")}, {Kind: fixtures.FaultHang, For: upTo(time.Second)},
					{Kind: fixtures.FaultClose}, {Kind: fixtures.FaultReset, Where: fixtures.WhereMidBody},
					{Kind: fixtures.FaultTruncate, AfterBytes: 5}, {Kind: fixtures.FaultCorrupt, Share: .1, Seed: seed},
					{Kind: fixtures.FaultReset, Where: fixtures.WhereAfterResponse},
				}[r.IntN(7)]
				plan.NeedsResponse = r.IntN(2) == 0
			})
			o := Options{Planner: work, Rhythm: true, Speed: 1 + r.Float64()}
			var sum time.Duration
			up, answer := &timed{wait: upTo(100 * ms)}, textAnswer(strings.Repeat("x", 40))
			answer.FirstByte = up.wait
			for range 4 {
				gap := time.Duration(0)
				sometimes(func() { gap = upTo(30 * ms) })
				sum += gap
				up.parts = append(up.parts, part{after: gap, text: strings.Repeat("x", 10)})
				answer.Response.Body.Frames = append(answer.Response.Body.Frames, fixtures.Frame{At: up.wait + sum, Size: 10})
			}
			kind := "upstream"
			switch o.Upstream = up; r.IntN(4) {
			case 0:
				work.found, o.Responder, kind = answer, work, "recording"
				sometimes(func() { work.match = upTo(ms) })
			case 1:
				answer.Stub, o.Rhythm, kind = true, false, "stub"
				work.found, o.Responder = answer, work
			case 2:
				up.parts[2].err, kind = io.ErrUnexpectedEOF, "broken off"
			}
			b := newBubble(t, o)
			var upload sync.WaitGroup
			if r.IntN(2) == 0 {
				b.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			} else { // a client that is slow to send
				kind += ", uploaded"
				b.send("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nab")
				pause := upTo(100 * ms)
				upload.Go(func() { // ends with the client
					time.Sleep(pause)
					_, _ = io.WriteString(b.client, "cd") // it may have been broken off
				})
			}
			slow := r.IntN(2) == 0 // to read
			for p := make([]byte, 16); ; {
				if _, err := b.client.Read(p); err != nil {
					break
				}
				if slow {
					time.Sleep(upTo(5 * ms))
				}
			}
			_ = b.client.Close()
			upload.Wait()
			synctest.Wait()
			if b.books.audit(t); t.Failed() {
				t.Fatalf("seed %d: %s with %+v", seed, kind, work.planned)
			}
			x := b.books.all[0]
			if most := work.plan + work.match; x.Times.Own > most+time.Duration(len(up.parts)+8)*ms {
				t.Fatalf("seed %d: %s with %+v: own time %v, the work took %v", seed, kind, work.planned, x.Own, most)
			}
			kinds[kind+" "+fmt.Sprint(x.Outcome)]++
		})
	}
	for _, kind := range []string{"upstream ", "upstream fault", "recording ", "recording fault", "stub ", "stub fault", "broken off upstream",
		"upstream, uploaded ", "stub, uploaded "} {
		if kinds[kind] == 0 {
			t.Errorf("no exchange was of the kind %q; there were %v", kind, kinds)
		}
	}
}

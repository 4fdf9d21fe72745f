package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

// A held answer is the same over a socket, where the clock sends it, as over TLS and
// HTTP/2, where who was woken does; the books agree, and it is not early.
func TestHeldAnswers(t *testing.T) {
	const held = 5 * ms
	to := origin(t, "h1", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			_, _ = io.WriteString(w, strings.Repeat("l", 100_000))
		case "/parts":
			for range 3 {
				_, _ = io.WriteString(w, "part ")
				w.(http.Flusher).Flush()
			}
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		default:
			_, _ = io.WriteString(w, "short")
		}
	})
	stub := textAnswer("short")
	for name, c := range map[string]config{
		"total":          planning(always(fixtures.Plan{HoldTotal: held})),
		"first byte":     planning(always(fixtures.Plan{HoldFirstByte: held})),
		"both":           planning(always(fixtures.Plan{HoldRequest: ms, HoldTotal: held})),
		"stub":           func(g *rig) { responding(answering(stub))(g); planning(always(fixtures.Plan{HoldTotal: held}))(g) },
		"fault":          planning(always(fixtures.Plan{HoldTotal: held, Fault: &fixtures.Fault{Kind: fixtures.FaultStatus, Status: 503, Body: []byte("short")}})),
		"server timing":  func(g *rig) { g.opts.ServerTiming = true; planning(always(fixtures.Plan{HoldTotal: held}))(g) },
		"with recording": func(g *rig) { recording(g); planning(always(fixtures.Plan{HoldTotal: held}))(g) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, to, c)
			n := 0
			for _, path := range []string{"/", "/", "/long", "/parts", "/none"} {
				var first string
				for _, mode := range []string{"h1", "h1s", "h2", "h2c"} {
					client, base := g.client(mode)
					begin := time.Now()
					resp, err := client.Get(base + path)
					if err != nil {
						t.Fatal(err)
					}
					took := time.Since(begin)
					body, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					got := resp.Status + " " + string(body)
					if first == "" {
						first = got
					}
					if err != nil || got != first {
						t.Errorf("%s %s: %.60q, %v, want %.60q", mode, path, got, err, first)
					}
					if took < held-20*time.Microsecond {
						t.Errorf("%s %s: the head came after %v, want %v", mode, path, took, held)
					}
					n++
					if x := g.books.exchange(t, n); x.Total < held-20*time.Microsecond {
						t.Errorf("%s %s: booked as %v, want %v", mode, path, x.Total, held)
					}
				}
			}
		})
	}
}

// What goes out a little before its moment was not noted with it: no answer ends after the
// whole of its exchange.
func TestHeldAnswerEndsInTime(t *testing.T) {
	for range 20 {
		v := &visit{start: time.Now()}
		v.x = &v.ex
		v.late = lateness{moment: v.start.Add(2 * ms), book: &v.paced, ctx: t.Context()}
		v.x.Times.FirstByte = v.late.moment.Sub(v.start)
		v.over(v.now())
		if err := v.keep(func() {}); err != nil {
			t.Fatal(err)
		}
		if total, x := v.served.Sub(v.start), &v.x.Times; x.FirstByte > total || x.End > total || total < v.paced {
			t.Fatalf("first byte at %v, end at %v, the wait was %v, but the whole took %v", x.FirstByte, x.End, v.paced, total)
		}
	}
}

// A client that leaves while its answer is held gets nothing of it, and the books say so:
// no byte of our own answer was sent.
func TestHeldClientLeaves(t *testing.T) {
	to := origin(t, "h1", func(w http.ResponseWriter, r *http.Request) {})
	for source, from := range map[string]config{"live": func(*rig) {}, "stub": responding(answering(textAnswer("short")))} {
		for _, held := range []time.Duration{48 * ms, time.Hour} { // what is made ready at once, and what later
			g := newRig(t, to, from, planning(&planned{plan: func(x *Exchange) fixtures.Plan {
				if x.Request.Target == "/second" {
					return fixtures.Plan{HoldTotal: held}
				}
				return fixtures.Plan{HoldTotal: ms}
			}}))
			nc, _ := again(g)
			_, _ = io.WriteString(nc, getSecond)
			g.books.until(t, "the second exchange", func() bool { return len(g.books.begun) == 2 })
			_ = nc.SetLinger(0)
			_ = nc.Close()
			x := g.books.exchange(t, 2)
			if x.Outcome != fixtures.OutcomeClient || x.Total > time.Minute {
				t.Errorf("%s, held for %v: outcome %q (%s) after %v, want %q", source, held, x.Outcome, x.Error, x.Total, fixtures.OutcomeClient)
			}
			if x.Times.FirstByte > x.Total || x.Times.End > x.Total {
				t.Errorf("%s, held for %v: first byte at %v, end at %v, but the whole took %v", source, held, x.Times.FirstByte, x.Times.End, x.Total)
			}
		}
	}
}

// A body that drips or is throttled begins to when its answer does, not when that was made
// ready.
func TestSlowBodyAfterADelay(t *testing.T) {
	const body, held = "0123456789", 45 * ms
	to := origin(t, "h1", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, body)
	})
	for name, c := range map[string]struct {
		plan fixtures.Plan
		last time.Duration // of the body's bytes, after the first
	}{
		"drip":     {fixtures.Plan{HoldTotal: held, Drip: &fixtures.Drip{Bytes: 2, Every: 10 * ms}}, 40 * ms},
		"throttle": {fixtures.Plan{HoldTotal: held, BytesPerSecond: 200}, 45 * ms},
	} {
		for source, from := range map[string]config{"live": func(*rig) {}, "stub": responding(answering(textAnswer(body)))} {
			for _, mode := range []string{"h1", "h1s", "h2c"} {
				t.Run(name+" "+source+" "+mode, func(t *testing.T) {
					g := newRig(t, to, from, planning(always(c.plan)))
					client, base := g.client(mode)
					begin := time.Now()
					resp, err := client.Get(base + "/")
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil || string(got) != body {
						t.Fatalf("%q, %v", got, err)
					}
					if took := time.Since(begin); took < held+c.last-ms {
						t.Errorf("it took %v, want %v and %v more", took, held, c.last)
					}
				})
			}
		}
	}
}

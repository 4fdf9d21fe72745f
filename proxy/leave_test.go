package proxy

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

// A client that leaves frees everything at once, wherever its exchange stands,
// and the upstream's work ends.
func TestClientLeaves(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	for _, tc := range []struct {
		name    string
		raw     string
		plan    fixtures.Plan
		up      *timed
		asked   bool // the upstream was, and is to notice
		outcome fixtures.Outcome
	}{
		{"while held", getSlash, fixtures.Plan{HoldRequest: time.Hour}, nil, false, fixtures.OutcomeClient},
		{"while held, its body unread", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", fixtures.Plan{HoldRequest: time.Hour}, nil, false, fixtures.OutcomeClient},
		{"while hanging", getSlash, fixtures.Plan{Fault: &fixtures.Fault{Kind: fixtures.FaultHang}}, nil, false, fixtures.OutcomeFault},
		{"while hanging and sending", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n" + big, fixtures.Plan{Fault: &fixtures.Fault{Kind: fixtures.FaultHang}}, nil, false, fixtures.OutcomeFault},
		{"while the upstream works", getSlash, fixtures.Plan{}, &timed{wait: time.Hour}, true, fixtures.OutcomeClient},
		{"while the upstream works on its body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", fixtures.Plan{}, &timed{wait: time.Hour}, true, fixtures.OutcomeClient},
		{"while the upstream works on its chunks", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", fixtures.Plan{}, &timed{wait: time.Hour}, true, fixtures.OutcomeClient},
		{"in its own body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", fixtures.Plan{}, &timed{wait: time.Hour}, false, fixtures.OutcomeClient},
		{"before the first byte", getSlash, fixtures.Plan{HoldFirstByte: time.Hour}, &timed{}, false, fixtures.OutcomeClient},
		{"in a stream", getSlash, fixtures.Plan{}, &timed{parts: []part{{time.Hour, "x", nil}}}, true, fixtures.OutcomeClient},
		{"in a throttled body", getSlash, fixtures.Plan{BytesPerSecond: 1}, &timed{parts: []part{{0, big[:1000], nil}}}, false, fixtures.OutcomeClient},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := Options{Planner: always(tc.plan)}
				if tc.up != nil {
					tc.up.left = make(chan struct{})
					o.Upstream = tc.up
				}
				b := newBubble(t, o)
				go func() { // what the hang lets come in, ends with the client
					buf := make([]byte, 1<<10)
					for {
						if _, err := b.client.Read(buf); err != nil {
							return
						}
					}
				}()
				b.send(tc.raw)
				time.Sleep(time.Second)
				if n := b.p.InFlight(); n != 1 {
					t.Fatalf("InFlight() = %d while the client waits, want 1: %+v", n, b.books.all)
				}
				left := time.Now()
				_ = b.client.Close()
				b.books.exchange(t, 1)
				if d := time.Since(left); d != 0 {
					t.Errorf("noticed after %v, want at once", d)
				}
				if tc.asked {
					select {
					case <-tc.up.left:
					default:
						t.Error("the upstream was not told")
					}
				}
				if x := b.done(); x.Outcome != tc.outcome || x.Error == "" {
					t.Errorf("outcome %q (%s), want %q", x.Outcome, x.Error, tc.outcome)
				}
			})
		})
	}
}

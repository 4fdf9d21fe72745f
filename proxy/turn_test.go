package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing/station"
)

// entering is a station as an answer's Entrance.
type entering struct{ *station.Live }

func (e entering) Enter(at time.Time, size int64, tail time.Duration, speed float64) fixtures.Turn {
	return e.Live.Enter(at, 0, size, tail, speed)
}

// asking is a Drawer that always draws the same.
type asking time.Duration

func (d asking) Draw(int, int, int64) time.Duration { return time.Duration(d) }

func stationOf(d station.Discipline, servers int) entering {
	return entering{station.NewLive(station.Station{Discipline: d, Servers: servers}, asking(100*ms))}
}

func (e entering) answer(body fixtures.Body) *fixtures.Answer {
	a := recorded(body)
	a.Entrance = e
	return a
}

// Two at once wait for each other as the station has it, and rules come on top.
func TestTurns(t *testing.T) {
	for name, tc := range map[string]struct {
		discipline  station.Discipline
		servers     int
		plan        fixtures.Plan
		first, last time.Duration
		paced       time.Duration // of the last
	}{
		"FIFO":                   {station.FIFO, 1, fixtures.Plan{}, 100 * ms, 200 * ms, 200 * ms},
		"FIFO of two":            {station.FIFO, 2, fixtures.Plan{}, 100 * ms, 100 * ms, 100 * ms},
		"PS":                     {station.PS, 1, fixtures.Plan{}, 200 * ms, 200 * ms, 200 * ms},
		"PS of two":              {station.PS, 2, fixtures.Plan{}, 100 * ms, 100 * ms, 100 * ms},
		"endless":                {station.FIFO, 0, fixtures.Plan{}, 100 * ms, 100 * ms, 100 * ms},
		"held before":            {station.PS, 1, fixtures.Plan{HoldRequest: 30 * ms}, 230 * ms, 230 * ms, 200 * ms},
		"held after":             {station.PS, 1, fixtures.Plan{HoldFirstByte: 30 * ms}, 230 * ms, 230 * ms, 200 * ms},
		"held in all":            {station.FIFO, 1, fixtures.Plan{HoldTotal: 150 * ms}, 150 * ms, 200 * ms, 200 * ms},
		"held in all, less than": {station.PS, 1, fixtures.Plan{HoldTotal: 150 * ms}, 200 * ms, 200 * ms, 200 * ms},
	} {
		for _, tell := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					at := stationOf(tc.discipline, tc.servers)
					b := newBubble(t, Options{Responder: answering(at.answer(fixtures.Body{Bytes: []byte("x")})), Planner: always(tc.plan), ServerTiming: tell})
					two := b.another()
					b.send(getSlash)
					synctest.Wait()
					two.send(getSlash)
					var wg sync.WaitGroup
					wg.Go(func() {
						resp, got := b.response()
						if _, _ = io.ReadAll(resp.Body); got != tc.first {
							t.Errorf("the first came after %v, want %v", got, tc.first)
						}
						_ = b.client.Close()
					})
					resp, got := two.response()
					if got != tc.last {
						t.Errorf("the second came after %v, want %v", got, tc.last)
					}
					_, _ = io.ReadAll(resp.Body)
					wg.Wait()
					if x := two.done(); x.Paced != tc.paced || !x.Delayed || x.DelayError != 0 || x.Outcome != "" {
						t.Errorf("paced %v, delayed %v by %v, outcome %q; want %v, true, 0s, \"\"", x.Paced, x.Delayed, x.DelayError, x.Outcome, tc.paced)
					}
					if n := at.InFlight(); n != 0 {
						t.Errorf("%d in flight at the end", n)
					}
				})
			})
		}
	}
}

// A client that leaves frees its place, and who waits has the more of PS for it; a FIFO's
// server does its work all the same.
func TestTurnsLeft(t *testing.T) {
	for d, want := range map[station.Discipline]time.Duration{station.FIFO: 200 * ms, station.PS: 125 * ms} {
		synctest.Test(t, func(t *testing.T) {
			at := stationOf(d, 1)
			b := newBubble(t, Options{Responder: answering(at.answer(fixtures.Body{Bytes: []byte("x")}))})
			two := b.another()
			b.send(getSlash)
			synctest.Wait()
			two.send(getSlash)
			synctest.Wait()
			if n := at.InFlight(); n != 2 {
				t.Errorf("%s: %d in flight, want 2", d, n)
			}
			time.Sleep(50 * ms)
			_ = b.client.Close()
			synctest.Wait()
			if n := at.InFlight(); n != 1 {
				t.Errorf("%s: %d in flight after one left, want 1", d, n)
			}
			if _, got := two.response(); got != want {
				t.Errorf("%s: the other came after %v, want %v", d, got, want)
			}
			_ = two.client.Close()
			synctest.Wait()
			b.books.audit(t)
			if n := at.InFlight(); n != 0 {
				t.Errorf("%s: %d in flight at the end", d, n)
			}
		})
	}
}

// What came before and after an answer's head moves along with it, and a server is busy
// until the answer has ended.
func TestTurnMovesTheRhythm(t *testing.T) {
	body := fixtures.Body{Bytes: []byte("abc"), Frames: []fixtures.Frame{{At: 40 * ms, Size: 1}, {At: 70 * ms, Size: 1}, {At: 90 * ms, Size: 1}}, Chunked: true}
	for _, tc := range []struct {
		discipline station.Discipline
		servers    int
		speed      float64
		heads      [2]time.Duration
	}{
		{station.FIFO, 1, 1, [2]time.Duration{100 * ms, 250 * ms}},
		{station.PS, 1, 1, [2]time.Duration{200 * ms, 200 * ms}},
		{station.FIFO, 1, 2, [2]time.Duration{50 * ms, 125 * ms}},
	} {
		synctest.Test(t, func(t *testing.T) {
			at := stationOf(tc.discipline, tc.servers)
			a := at.answer(body)
			a.Response.Informational = []fixtures.Informational{{At: 10 * ms, Status: 103}}
			b := newBubble(t, Options{Responder: answering(a), Speed: tc.speed})
			two := b.another()
			b.send(getSlash)
			synctest.Wait()
			two.send(getSlash)
			after := func(d time.Duration) time.Duration { return time.Duration(float64(d) / tc.speed) }
			look := func(b *bubble, head time.Duration) {
				early, got := b.response()
				if want := head - after(30*ms); early.StatusCode != 103 || got != want {
					t.Errorf("%d came after %v, want 103 after %v", early.StatusCode, got, want)
				}
				resp, got := b.response()
				if got != head {
					t.Errorf("the head came after %v, want %v", got, head)
				}
				frames, _ := b.rhythm(resp)
				sameRhythm(t, frames, part{head, "a", nil}, part{head + after(30*ms), "b", nil}, part{head + after(50*ms), "c", nil})
			}
			var wg sync.WaitGroup
			wg.Go(func() { look(b, tc.heads[0]) })
			look(two, tc.heads[1])
			wg.Wait()
			_ = b.client.Close()
			two.done()
			if n := at.InFlight(); n != 0 {
				t.Errorf("%d in flight at the end", n)
			}
		})
	}
}

// However an exchange ends, its turn is left, and once its answer is over.
func TestTurnIsAlwaysLeft(t *testing.T) {
	gone := func(a *fixtures.Answer) { a.Open = func() (io.ReadCloser, error) { return nil, errors.New("gone") } }
	for name, tc := range map[string]struct {
		method string
		plan   fixtures.Plan
		later  *fixtures.Plan // once the answer is known
		panics bool
		bend   func(a *fixtures.Answer)
	}{
		"complete":       {},
		"HEAD":           {method: "HEAD"},
		"no body file":   {bend: gone},
		"reset":          {plan: fixtures.Plan{Fault: &fixtures.Fault{Kind: fixtures.FaultReset, Where: fixtures.WhereMidBody}}},
		"reset after":    {plan: fixtures.Plan{Fault: &fixtures.Fault{Kind: fixtures.FaultReset, Where: fixtures.WhereAfterResponse}}},
		"status":         {plan: fixtures.Plan{Fault: &fixtures.Fault{Kind: fixtures.FaultStatus, Status: 503}}},
		"status by rule": {later: &fixtures.Plan{Fault: &fixtures.Fault{Kind: fixtures.FaultStatus, Status: 503}}},
		"hang by rule":   {later: &fixtures.Plan{Fault: &fixtures.Fault{Kind: fixtures.FaultHang, For: time.Second}}},
		"close by rule":  {later: &fixtures.Plan{Fault: &fixtures.Fault{Kind: fixtures.FaultClose}}},
		"malformed":      {plan: fixtures.Plan{Fault: &fixtures.Fault{Kind: fixtures.FaultMalformed, Where: fixtures.WhereStatusLine}}},
		"panic":          {panics: true},
	} {
		for _, d := range []station.Discipline{station.FIFO, station.PS} {
			t.Run(name+" "+string(d), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					at := stationOf(d, 1)
					a := at.answer(fixtures.Body{Bytes: []byte("x")})
					if tc.bend != nil {
						tc.bend(a)
					}
					entered := 0
					p := &planned{plan: func(*Exchange) fixtures.Plan { return tc.plan }}
					if tc.later != nil || tc.panics {
						p.response = func(x *Exchange) fixtures.Plan {
							entered = at.InFlight()
							if x.Times.FirstByte != 100*ms {
								t.Errorf("rules see a first byte at %v, want 100ms", x.Times.FirstByte)
							}
							if tc.panics {
								panic("a defect")
							}
							return *tc.later
						}
					}
					b := newBubble(t, Options{Responder: answering(a), Planner: p})
					method := tc.method
					if method == "" {
						method = "GET"
					}
					b.send(method + " / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
					_, _ = io.ReadAll(b.br)
					_ = b.client.Close()
					synctest.Wait()
					if p.response != nil && entered != 1 {
						t.Errorf("%d in flight while it was under way, want 1", entered)
					}
					if n := at.InFlight(); n != 0 {
						t.Errorf("%d in flight at the end", n)
					}
				})
			})
		}
	}
}

// Turns over sockets, by every protocol: none comes early, and none is kept.
func TestTurnsEveryTransport(t *testing.T) {
	for _, d := range []station.Discipline{station.FIFO, station.PS} {
		at := entering{station.NewLive(station.Station{Discipline: d, Servers: 1}, asking(5*ms))}
		g := newRig(t, "http://up.test", responding(answering(at.answer(fixtures.Body{Bytes: []byte("x")}))))
		n := 0
		for _, mode := range []string{"h1", "h1s", "h2", "h2c"} {
			client, base := g.client(mode)
			begin := time.Now()
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					resp, err := client.Get(base + "/")
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					if text, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || string(text) != "x" || err != nil {
						t.Errorf("%s: %d %q %v", mode, resp.StatusCode, text, err)
					}
				})
				n++
			}
			wg.Wait()
			// Eight of 5 ms each cannot be done earlier, but for what is settled early.
			if took := time.Since(begin); took < 8*5*ms-8*3*ms {
				t.Errorf("%s %s: eight took %v, want 40ms", d, mode, took)
			}
			g.books.exchange(t, n)
		}
		g.stop()
		if n := at.InFlight(); n != 0 {
			t.Errorf("%s: %d in flight at the end", d, n)
		}
	}
}

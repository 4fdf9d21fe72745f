package app

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/redact"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/timing/ratelimit"
	"github.com/understudy-proxy/understudy/proxy"
)

// stretch is so many requests a second for so long.
type stretch struct {
	rate float64
	long time.Duration
}

// comings are the moments at which requests come, by Poisson.
func comings(seed uint64, of ...stretch) []time.Duration {
	r := rand.New(rand.NewPCG(seed, 3))
	var out []time.Duration
	at, end := time.Duration(0), time.Duration(0)
	for _, s := range of {
		for end += s.long; ; {
			if at += time.Duration(r.ExpFloat64() / s.rate * 1e9); at >= end {
				at = end
				break
			}
			out = append(out, at)
		}
	}
	return out
}

// limitedTape is the cassette of a server that answers /orders/… and /items/…, by turns, in
// 5 ms where accept accepts them, and refuses in 1 ms. /health is never refused.
func limitedTape(t *testing.T, at []time.Duration, accept func(target string, at time.Duration) bool, edit func(x *fixtures.Exchange)) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "c")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var lines []byte
	began := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for i, at := range at {
		target := []string{"/orders/17", "/items/17", "/orders/18", "/health"}[i%4]
		x := seenAt(uint64(i+1), target, "ok", 5*time.Millisecond)
		if target != "/health" && !accept(target, at) {
			x = seenAt(uint64(i+1), target, "slow down", time.Millisecond)
			x.Response.Status = 429
			x.Response.Header = fixtures.Header{{Name: "Retry-After", Value: "1"}}
		}
		x.At = began.Add(at - time.Millisecond)
		if edit != nil {
			edit(&x)
		}
		var err error
		if lines, err = cassette.EncodeExchange(lines, &x); err != nil {
			t.Fatal(err)
		}
	}
	m := cassette.NewManifest("test", began, redact.Config{})
	m.State, m.Counts.Exchanges = cassette.StateComplete, uint64(len(at))
	if err := os.WriteFile(filepath.Join(dir, cassette.ExchangesFile), lines, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cassette.WriteManifest(dir, m); err != nil {
		t.Fatal(err)
	}
	return dir
}

// playerOf plays the cassette at dir.
func playerOf(t *testing.T, dir string, of config.Timing, speed float64) *player {
	t.Helper()
	p := modelParts(of)
	p.c.Speed = speed
	p.player = &player{}
	d, err := p.open(dir)
	if err != nil {
		t.Fatal(err)
	}
	p.player.now.Store(&cast{decks: []deck{d}})
	return p.player
}

func askFor(t *testing.T, p *player, target string) *fixtures.Answer {
	t.Helper()
	a, err := p.Respond(&proxy.Exchange{Exchange: fixtures.Exchange{Request: fixtures.Request{Proto: "HTTP/1.1", Method: "GET", Scheme: "http", Host: "api.test", Target: target}}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var threeLoads = []stretch{{60, 8 * time.Second}, {110, 8 * time.Second}, {170, 8 * time.Second}}

// A limit that was fitted and written refuses, under loads that were never recorded, what the
// server refuses; and leaves the stations to those that it lets in.
func TestLimitUnderOtherLoads(t *testing.T) {
	limit := ratelimit.Limit{Rate: 60, Burst: 40} // of three requests in four
	one := ratelimit.NewLive(limit)
	recorded := comings(1, threeLoads...)
	dir := limitedTape(t, recorded, func(_ string, at time.Duration) bool { return one.Accept(at) }, nil)
	fit, err := FitModels(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(fit.Limits) != 1 || len(fit.Limits[0].Operations) != 2 {
		t.Fatalf("limits %+v, want one of two operations", fit.Limits)
	}
	if l := fit.Limits[0]; math.Abs(l.Rate-60) > 3 || math.Abs(l.Burst-40) > 4 || l.Quality != string(ratelimit.Good) {
		t.Errorf("found %+v, want %v", l, limit)
	}
	served := 0
	for _, m := range fit.Models {
		served += m.Exchanges
	}
	if refused := fit.Limits[0].Refused; served != len(recorded)-refused || refused == 0 {
		t.Errorf("stations are fitted to %d answers, want the %d of which %d are refusals without them", served, len(recorded), refused)
	}
	for _, load := range []float64{90, 140, 400} {
		synctest.Test(t, func(t *testing.T) {
			p, original := playerOf(t, dir, config.TimingModel, 1), ratelimit.NewLive(limit)
			at := comings(uint64(load), stretch{load, 20 * time.Second})
			want, got, health := 0, 0, 0
			start := time.Now()
			for i, at := range at {
				time.Sleep(time.Until(start.Add(at)))
				target := []string{"/orders/17", "/items/17", "/orders/18", "/health"}[i%4]
				a := askFor(t, p, target)
				ok := a.Response.Status == 200
				if ok == (string(a.Response.Body.Bytes) != "ok") || ok != (a.Entrance != nil) || ok == a.Response.Header.Has("Retry-After") {
					t.Fatalf("answer %d %q with entrance %v", a.Response.Status, a.Response.Body.Bytes, a.Entrance)
				}
				switch {
				case target == "/health" && !ok:
					t.Fatal("/health is refused")
				case target == "/health":
					health++
				default:
					if ok {
						got++
					}
					if original.Accept(at) {
						want++
					}
				}
			}
			n := len(at) - health
			t.Logf("%v a second: the original accepts %d of %d, the replay %d", load, want, n, got)
			if math.Abs(float64(got-want)) > 0.03*float64(want) {
				t.Errorf("%v a second: %d of %d accepted, want %d", load, got, n, want)
			}
		})
	}
}

// With other timing the answers come as they were recorded, refusals and all.
func TestLimitsAreOfModels(t *testing.T) {
	dir, c := fittedTape(t)
	p := playerOf(t, dir, config.TimingRecorded, 1)
	for x, err := range c.Exchanges() {
		if err != nil {
			t.Fatal(err)
		}
		if a := askFor(t, p, x.Request.Target); a.Response.Status != x.Response.Status {
			t.Fatalf("exchange %d is answered by %s, want as recorded", x.ID, a.Source)
		}
	}
}

// Twice the speed is twice the rate; a reset gives all tokens back.
func TestLimitAtSpeed(t *testing.T) {
	one := ratelimit.NewLive(ratelimit.Limit{Rate: 60, Burst: 40})
	dir := limitedTape(t, comings(1, threeLoads...), func(_ string, at time.Duration) bool { return one.Accept(at) }, nil)
	fit, err := FitModels(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p := playerOf(t, dir, config.TimingModel, 2)
		atOnce := func() int {
			for n := 0; ; n++ {
				if askFor(t, p, "/orders/17").Response.Status == 429 {
					return n
				}
			}
		}
		burst := int(fit.Limits[0].Burst)
		if burst < 38 || burst > 42 {
			t.Errorf("burst %d, want about 40", burst)
		}
		if n := atOnce(); n != burst {
			t.Errorf("%d at once, want %d", n, burst)
		}
		time.Sleep(250 * time.Millisecond)
		if n := atOnce(); n < 27 || n > 33 {
			t.Errorf("%d after 250 ms, want 30", n)
		}
		p.reset()
		if n := atOnce(); n != burst {
			t.Errorf("%d after a reset, want %d", n, burst)
		}
	})
}

// Operations that have limits of their own are told apart.
func TestLimitsOfTheirOwn(t *testing.T) {
	orders, items := ratelimit.NewLive(ratelimit.Limit{Rate: 40, Burst: 10}), ratelimit.NewLive(ratelimit.Limit{Rate: 15, Burst: 5})
	dir := limitedTape(t, comings(1, threeLoads...), func(target string, at time.Duration) bool {
		if strings.HasPrefix(target, "/orders") {
			return orders.Accept(at)
		}
		return items.Accept(at)
	}, nil)
	fit, err := FitModels(dir, true)
	if err != nil || len(fit.Limits) != 2 {
		t.Fatalf("limits %+v, %v, want two", fit.Limits, err)
	}
	for i, want := range []float64{40, 15} {
		if got := fit.Limits[i].Rate; math.Abs(got/want-1) > 0.05 {
			t.Errorf("%v: %v a second, want %v", fit.Limits[i].Operations, got, want)
		}
	}
	c, err := OpenCassette(dir)
	if err != nil || len(c.Manifest.Limits) != 0 {
		t.Errorf("a dry run wrote %v, %v", c.Manifest.Limits, err)
	}
}

// What is refused at random, and not above a rate, is played as recorded, which is said.
func TestLimitThatIsNone(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	dir := limitedTape(t, comings(1, threeLoads...), func(string, time.Duration) bool { return r.Float64() < 0.8 }, nil)
	fit, err := FitModels(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range fit.Limits {
		if l.Quality != string(ratelimit.AsRecorded) || l.Rate != 0 || !strings.Contains(l.Why, "record") {
			t.Errorf("found %+v, want none, and what to record", l)
		}
	}
	statuses := map[int]int{}
	p := playerOf(t, dir, config.TimingModel, 1)
	for range 100 {
		a := askFor(t, p, "/orders/17")
		statuses[a.Response.Status]++
		if a.Response.Status == 429 && a.Entrance != nil {
			t.Fatal("a refusal waits at a station")
		}
	}
	if statuses[429] == 0 || statuses[200] == 0 {
		t.Errorf("answers %v, want them as recorded", statuses)
	}
}

// A limit that was edited must have refusals to refuse with.
func TestLimitWithoutRefusals(t *testing.T) {
	dir, c := fittedTape(t)
	m := *c.Manifest
	m.Limits = slices.Clone(m.Limits)
	m.Limits[0].Operations = append(m.Limits[0].Operations, "GET api.test/health")
	if err := cassette.WriteManifest(dir, &m); err != nil {
		t.Fatal(err)
	}
	p := modelParts(config.TimingModel)
	p.player = &player{}
	if _, err := p.open(dir); err == nil || ExitCode(err) != ExitBadInput || !strings.Contains(err.Error(), `no such answer to "GET api.test/health"`) {
		t.Errorf("a limit of what was never refused: %v", err)
	}
}

func TestToldByHeaders(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		header string
		want   ratelimit.Told
	}{
		{"Content-Type: a", ratelimit.Told{}},
		{"X-RateLimit-Limit: 100|X-RateLimit-Remaining: 3|X-RateLimit-Reset: 42", ratelimit.Told{Requests: 100, Left: 42 * time.Second}},
		{"X-RateLimit-Limit: 60|X-RateLimit-Reset: 1769860830", ratelimit.Told{Requests: 60, Left: 30 * time.Second}},
		{"x-rate-limit-limit: 15|x-rate-limit-reset: 1769860830|Date: Sat, 31 Jan 2026 12:00:20 GMT", ratelimit.Told{Requests: 15, Left: 10 * time.Second}},
		{"RateLimit-Limit: 100, 100;w=60|RateLimit-Reset: 7", ratelimit.Told{Requests: 100, Left: 7 * time.Second, Window: time.Minute}},
		{"RateLimit: limit=10, remaining=4, reset=5|RateLimit-Policy: 10;w=10", ratelimit.Told{Requests: 10, Left: 5 * time.Second, Window: 10 * time.Second}},
		{`RateLimit: "default";r=50;t=30|RateLimit-Policy: "default";q=100;w=60`, ratelimit.Told{Requests: 100, Left: 30 * time.Second, Window: time.Minute}},
		{"X-RateLimit-Limit: many|X-RateLimit-Reset: -1|Retry-After: Sat, 31 Jan 2026 12:00:20 GMT", ratelimit.Told{}},
		{"X-RateLimit-Limit: 1e400|X-RateLimit-Reset: 99999999999999999999", ratelimit.Told{Requests: 1}},
	} {
		x := &fixtures.Exchange{At: at}
		for _, line := range strings.Split(c.header, "|") {
			name, value, _ := strings.Cut(line, ": ")
			x.Response.Header.Add(name, value)
		}
		if got := toldBy(x); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.header, got, c.want)
		}
	}
}

// fittedTape is a recording of a limit of 60 a second, and bursts of 40, with what fit finds.
func fittedTape(t *testing.T) (dir string, c *cassette.Cassette) {
	t.Helper()
	one := ratelimit.NewLive(ratelimit.Limit{Rate: 60, Burst: 40})
	dir = limitedTape(t, comings(1, threeLoads...), func(_ string, at time.Duration) bool { return one.Accept(at) }, nil)
	if _, err := FitModels(dir, false); err != nil {
		t.Fatal(err)
	}
	c, err := OpenCassette(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, c
}

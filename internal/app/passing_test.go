package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/admin"
	"github.com/understudy-proxy/understudy/internal/telemetry"
	"github.com/understudy-proxy/understudy/proxy"
	"github.com/understudy-proxy/understudy/proxy/http1"
	"github.com/understudy-proxy/understudy/proxy/wire"
	"github.com/understudy-proxy/understudy/recorder"
	"github.com/understudy-proxy/understudy/rules"
)

// readyUpstream has the same answer ready for each request, without a kernel in
// between. It serves one exchange at a time.
type readyUpstream struct {
	resp wire.Response
	data []byte
	read bool
}

func newReadyUpstream() *readyUpstream {
	return &readyUpstream{data: []byte(strings.Repeat("x", 1024)), resp: wire.Response{
		Proto: "HTTP/1.1", Status: 200, Reason: "OK", Length: 1024,
		Header: fixtures.Header{{Name: "Server", Value: "origin"}, {Name: "Date", Value: "Tue, 01 Jan 2030 00:00:00 GMT"},
			{Name: "Content-Type", Value: "application/json"}, {Name: "Content-Length", Value: "1024"}, {Name: "Connection", Value: "keep-alive"}},
	}}
}

func (u *readyUpstream) RoundTrip(context.Context, *wire.Request) (*wire.Response, error) {
	now := time.Now()
	u.resp.Body, u.resp.Trace, u.read = u, wire.Trace{Reused: true, SentAt: now, FirstAt: now}, false
	return &u.resp, nil
}

func (u *readyUpstream) Read(p []byte) (int, error) {
	if u.read {
		return 0, io.EOF
	}
	u.read = true
	return copy(p, u.data), io.EOF
}

func (u *readyUpstream) Close() error  { return nil }
func (u *readyUpstream) Arrived() bool { return true }
func (u *readyUpstream) Release()      {}

// manyRules are a hundred, all but one of which are of the given condition, with
// %d for a number, and do not hold for benchPath.
func manyRules(condition, last string) string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range 99 {
		fmt.Fprintf(&b, "  - {name: rule %d, when: '%s', fault: {status: 503}}\n", i, fmt.Sprintf(condition, i))
	}
	return b.String() + last
}

const (
	benchPath = "/1k"
	byPath    = `request.method == "GET" && request.path startsWith "/service/%d/"`
	byHeader  = `request.header("X-Tenant") == "tenant-%d" && rand() < 0.5`
)

// ruleSets are what passes through at one cost, or should.
var ruleSets = []struct{ name, text string }{
	{"no rules", ""},
	{"100 by path, none holds", manyRules(byPath, "  - {name: no, when: 'request.path == \"/other\"', delay: 1s}\n")},
	{"100 by path, one sets a header", manyRules(byPath, "  - {name: hit, when: 'request.path == \""+benchPath+"\"', headers: {response: {set: {X-Rule: hit}}}}\n")},
	{"100 by header, one sets a header", manyRules(byHeader, "  - {name: hit, headers: {request: {set: {X-A: a}}, response: {set: {X-Rule: hit}, remove: [Server]}}}\n")},
}

// ruled is a planner and the books of a run, without a door.
func ruled(tb testing.TB, text string) (planner, *books) {
	tb.Helper()
	engine := rules.NewEngine(1, func(rule string, err error) { tb.Errorf("rule %q: %v", rule, err) })
	if text != "" {
		set, err := rules.Parse([]rules.Source{{Name: "rules.yaml", Data: []byte(text)}}, rules.Options{})
		if err != nil {
			tb.Fatal(err)
		}
		engine.Swap(set)
	}
	return planner{engine: engine, start: time.Now()}, &books{
		ledger: recorder.NewLedger(0), metrics: telemetry.NewMetrics(telemetry.Options{}),
		exchanges: admin.NewRing[admin.Exchange](1000), missed: admin.NewRing[admin.Miss](200),
	}
}

// passing is a reverse door with all its books, and has it answer n requests.
func passing(tb testing.TB, text string, n int) (serve func()) {
	tb.Helper()
	p, told := ruled(tb, text)
	log, _, err := telemetry.NewLogger("info", "console", io.Discard)
	if err != nil {
		tb.Fatal(err)
	}
	pipeline := proxy.NewPipeline(proxy.Options{Observer: told, Upstream: newReadyUpstream(), Planner: p, Start: p.start, Log: log})
	info := &wire.Conn{ID: 1, From: "127.0.0.1", Client: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000}}
	server := &http1.Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
		r.Scheme, r.Host = "http", "origin.test"
		pipeline.Serve(ctx, w, r, info)
	})}
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", benchPath)
	return func() {
		c := &loopConn{left: n, requests: [][]byte{request}}
		if err := server.ServeConn(context.Background(), c, info); err != nil {
			tb.Fatal(err)
		}
		if c.answered != int64(n) {
			tb.Fatalf("answered %d of %d", c.answered, n)
		}
	}
}

// Work begins with a connection, and with an exchange on one that was kept.
func TestWorkWakes(t *testing.T) {
	_, told := ruled(t, "")
	n := 0
	told.wake = func() { n++ }
	told.ConnOpened(&wire.Conn{ID: 1})
	if n != 1 {
		t.Errorf("%d calls for a connection, want 1", n)
	}
	told.ExchangeBegun(&proxy.Exchange{})
	if n != 2 {
		t.Errorf("%d calls for a connection and an exchange, want 2", n)
	}
}

// What the rules decide and what is written down of it allocate nothing.
func TestRulesAllocateNothing(t *testing.T) {
	for _, set := range ruleSets {
		p, told := ruled(t, set.text)
		x := &proxy.Exchange{Source: "upstream", Wire: &wire.Conn{ID: 1}, Exchange: fixtures.Exchange{
			Client:   "127.0.0.1",
			Request:  fixtures.Request{Proto: "HTTP/1.1", Method: "GET", Scheme: "http", Host: "origin.test", Target: benchPath},
			Response: fixtures.Response{Status: 200},
		}}
		if n := testing.AllocsPerRun(1000, func() { x.Plan = p.Plan(x) }); n != 0 {
			t.Errorf("%s: Plan allocates %v times, want never", set.name, n)
		}
		if fires := strings.Contains(set.name, "sets"); fires != (len(x.Plan.Fired) > 0) {
			t.Errorf("%s: fired = %q", set.name, x.Plan.Fired)
		}
		x.Fired = x.Plan.Fired
		if n := testing.AllocsPerRun(1000, func() { told.ExchangeDone(x) }); n != 0 {
			t.Errorf("%s: ExchangeDone allocates %v times, want never", set.name, n)
		}
	}
}

// BenchmarkPassThrough is all that one exchange costs beside the kernel: HTTP/1.1
// towards the client, rules, pipeline, ledger, metrics, live view.
func BenchmarkPassThrough(b *testing.B) {
	for _, set := range ruleSets {
		b.Run(set.name, func(b *testing.B) {
			serve := passing(b, set.text, b.N)
			runtime.GC() // what the rules left is not the exchange's
			b.ReportAllocs()
			b.ResetTimer()
			serve()
		})
	}
}

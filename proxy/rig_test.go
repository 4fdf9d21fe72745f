package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/ca"
	"github.com/understudy-proxy/understudy/proxy/upstream"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// patience bounds waits for what must happen; nothing waits so long that passes.
const patience = 10 * time.Second

// planned is a Planner made of functions; nil ones change nothing.
type planned struct {
	door      func(c *wire.Conn, host string) fixtures.Refusal
	needsBody bool
	plan      func(x *Exchange) fixtures.Plan
	response  func(x *Exchange) fixtures.Plan
}

func (p *planned) Door(c *wire.Conn, host string) (fixtures.Refusal, string) {
	if p.door == nil {
		return "", ""
	}
	return p.door(c, host), "door rule"
}
func (p *planned) NeedsBody(*Exchange) bool { return p.needsBody }
func (p *planned) Plan(x *Exchange) fixtures.Plan {
	var plan fixtures.Plan
	if p.plan != nil {
		plan = p.plan(x)
	}
	plan.NeedsResponse = p.response != nil
	return plan
}
func (p *planned) PlanResponse(x *Exchange) fixtures.Plan { return p.response(x) }

// always plans the same for each exchange.
func always(plan fixtures.Plan) *planned {
	return &planned{plan: func(*Exchange) fixtures.Plan { return plan }}
}

func faulty(f fixtures.Fault) *planned { return always(fixtures.Plan{Fired: []string{"r"}, Fault: &f}) }

// played is a Responder made of a function.
type played func(x *Exchange) (*fixtures.Answer, error)

func (played) NeedsBody(*Exchange) bool                        { return false }
func (p played) Respond(x *Exchange) (*fixtures.Answer, error) { return p(x) }
func answering(a *fixtures.Answer) played {
	return func(*Exchange) (*fixtures.Answer, error) { return a, nil }
}
func textAnswer(body string, frames ...fixtures.Frame) *fixtures.Answer {
	return &fixtures.Answer{Source: "c#1", Response: &fixtures.Response{
		Proto: "HTTP/1.1", Status: 200, Reason: "OK", Body: fixtures.Body{Bytes: []byte(body), Size: int64(len(body)), Frames: frames},
	}}
}

// taken is what a Tape was given.
type taken struct {
	mu        sync.Mutex
	req, resp []byte
	x         *fixtures.Exchange
	dones     int
}

func (k *taken) RequestBody(p []byte) { k.mu.Lock(); defer k.mu.Unlock(); k.req = append(k.req, p...) }
func (k *taken) ResponseBody(p []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.resp = append(k.resp, p...)
}
func (k *taken) Done(x *fixtures.Exchange) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.x = kept(&fixtures.Exchange{}, x)
	k.dones++
}

// books is an Observer that checks the ledger's laws.
type books struct {
	mu     sync.Mutex
	opened map[uint64]int
	closed map[uint64][]ConnEnd
	begun  map[uint64]int
	done   map[uint64]int
	all    []*Exchange
	tapes  []*taken
	bell   chan struct{} // rung at each change
}

func newBooks() *books {
	return &books{opened: map[uint64]int{}, closed: map[uint64][]ConnEnd{}, begun: map[uint64]int{}, done: map[uint64]int{}, bell: make(chan struct{})}
}

func (b *books) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.bell)
	b.bell = make(chan struct{})
}

func (b *books) ConnOpened(c *wire.Conn) { b.change(func() { b.opened[c.ID]++ }) }
func (b *books) ConnClosed(c *wire.Conn, e ConnEnd) {
	b.change(func() { b.closed[c.ID] = append(b.closed[c.ID], e) })
}
func (b *books) ExchangeBegun(x *Exchange) { b.change(func() { b.begun[x.ID]++ }) }
func (b *books) ExchangeDone(x *Exchange) {
	all := *x
	kept(&all.Exchange, &x.Exchange)
	b.change(func() { b.done[x.ID]++; b.all = append(b.all, &all) })
}

// kept copies x to to, with the arrays that the pipeline uses again.
func kept(to, x *fixtures.Exchange) *fixtures.Exchange {
	*to = *x
	for h, of := range map[*fixtures.Header]fixtures.Header{
		&to.Request.Header: x.Request.Header, &to.Request.Trailer: x.Request.Trailer,
		&to.Response.Header: x.Response.Header, &to.Response.Trailer: x.Response.Trailer,
	} {
		*h = of.Clone()
	}
	to.Request.Body.Frames, to.Response.Body.Frames = slices.Clone(x.Request.Body.Frames), slices.Clone(x.Response.Body.Frames)
	return to
}
func (b *books) Begin(*Exchange) Tape {
	k := &taken{}
	b.change(func() { b.tapes = append(b.tapes, k) })
	return k
}

// until waits for cond, which is asked under the lock.
func (b *books) until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		b.mu.Lock()
		ok, bell := cond(), b.bell
		b.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-bell:
		case <-deadline:
			t.Fatalf("never came: %s", what)
		}
	}
}

// exchange waits for the n-th exchange, counted from 1, to be done.
func (b *books) exchange(t testing.TB, n int) *Exchange {
	t.Helper()
	b.until(t, fmt.Sprintf("end of exchange %d", n), func() bool { return len(b.all) >= n })
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all[n-1]
}

// ends waits for n connections to have closed and returns their ends.
func (b *books) ends(t testing.TB, n int) []ConnEnd {
	t.Helper()
	b.until(t, fmt.Sprintf("end of %d connections", n), func() bool { return len(b.closed) >= n })
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []ConnEnd
	for _, e := range b.closed {
		out = append(out, e...)
	}
	return out
}

// audit checks the laws once all has ended.
func (b *books) audit(t testing.TB) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, n := range b.opened {
		if n != 1 || len(b.closed[id]) != 1 || b.closed[id][0].Fate == "" {
			t.Errorf("connection %d: opened %d times, closed as %+v, want once each with a fate", id, n, b.closed[id])
		}
	}
	for id, n := range b.begun {
		if n != 1 || b.done[id] != 1 {
			t.Errorf("exchange %d: begun %d times, done %d times, want once each", id, n, b.done[id])
		}
	}
	if len(b.closed) != len(b.opened) || len(b.done) != len(b.begun) {
		t.Errorf("closed %d of %d connections, done %d of %d exchanges", len(b.closed), len(b.opened), len(b.done), len(b.begun))
	}
	for _, x := range b.all {
		auditTimes(t, x)
	}
	for _, k := range b.tapes {
		k.mu.Lock()
		if k.dones != 1 {
			t.Errorf("tape ended %d times, want once", k.dones)
		} else if int64(len(k.resp)) != k.x.Response.Body.Size || int64(len(k.req)) != k.x.Request.Body.Size {
			t.Errorf("%s %s: tape has %d and %d bytes, record says %d and %d", k.x.Request.Method, k.x.Request.Target,
				len(k.req), len(k.resp), k.x.Request.Body.Size, k.x.Response.Body.Size)
		}
		k.mu.Unlock()
	}
}

func auditTimes(t testing.TB, x *Exchange) {
	t.Helper()
	name := fmt.Sprintf("exchange %d %s %s", x.ID, x.Request.Method, x.Request.Target)
	tm := x.Times
	if sum := x.Upstream + tm.Injected + tm.Own + x.ClientTime; sum != x.Total {
		t.Errorf("%s: upstream %v, injected %v, own %v and client %v are %v, the whole is %v", name, x.Upstream, tm.Injected, tm.Own, x.ClientTime, sum, x.Total)
	}
	if x.Own.Sum() != tm.Own || slices.Min(x.Own[:]) < 0 {
		t.Errorf("%s: own time %v in stages %v", name, tm.Own, x.Own)
	}
	if x.Paced < 0 || x.Paced > tm.Injected || !x.Delayed && x.DelayError != 0 || x.DelayError < -20*time.Microsecond {
		t.Errorf("%s: paced %v of %v injected, delayed %v by %v too much", name, x.Paced, tm.Injected, x.Delayed, x.DelayError)
	}
	if tm.FirstByte > 0 && tm.End > 0 && tm.End < tm.FirstByte {
		t.Errorf("%s: ends at %v before its first byte at %v", name, tm.End, tm.FirstByte)
	}
	for what, b := range map[string]*fixtures.Body{"request": &x.Request.Body, "response": &x.Response.Body} {
		var sum int64
		var at time.Duration
		for _, f := range b.Frames {
			if f.At < at || f.Size <= 0 {
				t.Errorf("%s: %s frame %+v after %v", name, what, f, at)
			}
			sum, at = sum+int64(f.Size), f.At
		}
		if len(b.Frames) > 0 && sum != b.Size {
			t.Errorf("%s: %s frames add up to %d, size is %d", name, what, sum, b.Size)
		}
	}
}

// rig is a Server with one door, and all that it needs.
type rig struct {
	t       testing.TB
	server  *Server
	books   *books
	addr    string // of the door
	ca      *x509.CertPool
	stop    func() // drains and waits; safe to call twice
	opts    Options
	forward bool
	tcp     string
	found   Destination
}

var theAuthority = sync.OnceValues(func() (*ca.Authority, error) { return ca.Load(caDir) })

// config changes a rig before it serves.
type config func(*rig)

func planning(p *planned) config        { return func(g *rig) { g.opts.Planner = p } }
func responding(p played) config        { return func(g *rig) { g.opts.Responder = p } }
func recording(g *rig)                  { g.opts.Recorder = g.books }
func forwarding(g *rig)                 { g.forward = true }
func tune(f func(*Options)) config      { return func(g *rig) { f(&g.opts) } }
func tuneServer(f func(*Server)) config { return func(g *rig) { f(g.server) } }

// newRig serves a reverse door before to, or a forward door.
func newRig(t testing.TB, to string, configs ...config) *rig {
	t.Helper()
	authority, err := theAuthority()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.Certificate())
	tr := &upstream.Transport{InsecureSkipVerify: true}
	g := &rig{t: t, books: newBooks(), ca: roots, opts: Options{Upstream: tr}}
	g.opts.Observer = g.books
	g.server = &Server{
		Observer: g.books, Patience: 30 * time.Millisecond, Grace: 5 * time.Second,
		TLS:    func(host string) *tls.Config { return authority.TLSConfig(host) },
		CACert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw}),
	}
	for _, c := range configs {
		c(g)
	}
	g.server.Planner = g.opts.Planner
	g.server.Pipeline = NewPipeline(g.opts)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { // ends with stop
		switch {
		case g.forward:
			ended <- g.server.ServeForward(ctx, ln)
		case g.tcp != "":
			ended <- g.server.ServeTCP(ctx, ln, g.tcp)
		case g.found != nil:
			ended <- g.server.ServeTransparent(ctx, ln, "transparent", g.found)
		default:
			u, err := url.Parse(to)
			if err != nil {
				panic(err)
			}
			ended <- g.server.ServeReverse(ctx, ln, u)
		}
	}()
	g.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(patience):
			t.Error("the door did not close")
		}
		_ = tr.Close()
		if n := g.server.Pipeline.InFlight(); n != 0 {
			t.Errorf("InFlight() = %d at the end, want 0", n)
		}
		g.books.audit(t)
	})
	t.Cleanup(g.stop)
	return g
}

// client is an HTTP client of the door that speaks mode: "h1", "h1s" (TLS), "h2" (TLS), "h2c".
func (g *rig) client(mode string) (*http.Client, string) {
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true, ExpectContinueTimeout: patience}
	tr.TLSClientConfig = &tls.Config{RootCAs: g.ca, ServerName: "localhost"}
	scheme := "http"
	switch mode {
	case "h1":
		tr.Protocols.SetHTTP1(true)
	case "h1s":
		tr.Protocols.SetHTTP1(true)
		scheme = "https"
	case "h2":
		tr.Protocols.SetHTTP2(true)
		scheme = "https"
	case "h2c":
		tr.Protocols.SetUnencryptedHTTP2(true)
	default:
		g.t.Fatalf("no client mode %q", mode)
	}
	g.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, scheme + "://" + g.addr
}

// dial opens a plain connection to the door.
func (g *rig) dial() *net.TCPConn {
	g.t.Helper()
	nc, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		g.t.Fatal(err)
	}
	return nc.(*net.TCPConn)
}

// dialClear lets an HTTP/2 client speak cleartext to the door.
func (g *rig) dialClear(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", g.addr)
}

// ask writes raw bytes to the door and returns all that comes until the end.
func (g *rig) ask(raw string) (string, error) {
	g.t.Helper()
	nc := g.dial()
	if _, err := io.WriteString(nc, raw); err != nil {
		g.t.Fatal(err)
	}
	got, err := io.ReadAll(nc)
	return string(got), err
}

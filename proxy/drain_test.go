package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
)

// Draining ends idle connections at once and lets what is under way finish.
func TestDrain(t *testing.T) {
	for _, mode := range clientModes {
		t.Run(mode, func(t *testing.T) {
			begun, finish := make(chan struct{}, 1), make(chan struct{})
			to := origin(t, "h1", func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					begun <- struct{}{}
					<-finish
				}
				_, _ = io.WriteString(w, hello)
			})
			g := newRig(t, to)
			c, base := g.client(mode)
			idle, idleBase := g.client(mode)
			get(t, idle, idleBase)
			silent := g.dial() // never says a word

			answered := make(chan error, 1)
			go func() { // ends with its answer
				resp, err := c.Get(base + "/slow")
				if err == nil {
					var body []byte
					if body, err = io.ReadAll(resp.Body); string(body) != hello && err == nil {
						err = errors.New("got " + string(body))
					}
					_ = resp.Body.Close()
				}
				answered <- err
			}()
			<-begun
			stopped := make(chan struct{})
			go func() { // ends when all has drained
				defer close(stopped)
				g.stop()
			}()
			if _, err := silent.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("a silent connection ends with %v, want EOF", err)
			}
			g.books.ends(t, 2) // the silent and the idle one
			closes(t, g.addr)
			close(finish)
			if err := <-answered; err != nil {
				t.Errorf("the exchange under way: %v", err)
			}
			<-stopped
		})
	}
}

// closes waits until a door accepts no more. It and its connections are told at the
// same time, and may hear of it in any order.
func closes(t *testing.T, addr string) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		_ = nc.Close()
		if time.Now().After(end) {
			t.Error("the door still accepts")
			return
		}
	}
}

// Grace bounds the drain.
func TestDrainBreaksOffAfterGrace(t *testing.T) {
	for _, mode := range clientModes {
		t.Run(mode, func(t *testing.T) {
			begun := make(chan struct{}, 1)
			to := origin(t, "h1", func(_ http.ResponseWriter, r *http.Request) {
				if r.Method != "PRI" {
					begun <- struct{}{}
					<-r.Context().Done() // the upstream is told
				}
			})
			g := newRig(t, to, tuneServer(func(s *Server) { s.Grace = time.Millisecond }))
			c, base := g.client(mode)
			failed := make(chan error, 1)
			go func() { // ends when it is broken off
				_, err := c.Post(base, "", nil)
				failed <- err
			}()
			<-begun
			g.stop()
			if err := <-failed; err == nil {
				t.Error("an answer came")
			}
			if x := g.books.exchange(t, 1); x.Outcome != fixtures.OutcomeStopped {
				t.Errorf("the exchange is booked as %q (%s): the client did not leave", x.Outcome, x.Error)
			}
		})
	}
}

func TestDrainEndsTunnels(t *testing.T) {
	to := rawOrigin(t, func(nc *net.TCPConn) { _, _ = io.Copy(nc, nc) })
	g := newRig(t, "", func(g *rig) { g.tcp = to })
	nc := g.dial()
	_, _ = io.WriteString(nc, "ping")
	if _, err := io.ReadFull(nc, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	g.stop()
	if _, err := nc.Read(make([]byte, 1)); err == nil {
		t.Error("the tunnel still stands")
	}
	if e := g.books.ends(t, 1)[0]; e.Fate != ConnPassed || e.BytesIn != 4 || e.BytesOut != 4 || e.Reason != "" {
		t.Errorf("ended as %+v", e)
	}
}

// Half-close passes through.
func TestTCPDoor(t *testing.T) {
	to := rawOrigin(t, func(nc *net.TCPConn) {
		all, _ := io.ReadAll(nc)
		_, _ = io.WriteString(nc, strings.ToUpper(string(all)))
	})
	g := newRig(t, "", func(g *rig) { g.tcp = to })
	nc := g.dial()
	_, _ = io.WriteString(nc, "whole")
	_ = nc.CloseWrite()
	if got, err := io.ReadAll(nc); string(got) != "WHOLE" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if e := g.books.ends(t, 1)[0]; e.Fate != ConnPassed || e.BytesIn != 5 || e.BytesOut != 5 {
		t.Errorf("ended as %+v", e)
	}
}

// A door that leads to itself says so in place of going round for ever.
func TestLoopsAreRefused(t *testing.T) {
	listen := func() (net.Listener, string) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln, ln.Addr().String()
	}
	a, addrA := listen()
	b, addrB := listen()
	c, addrC := listen()
	_, portB, _ := net.SplitHostPort(addrB)
	books := newBooks()
	tr := newRig(t, "http://up.test") // lends its transport
	s := &Server{Pipeline: NewPipeline(Options{Upstream: tr.opts.Upstream, Observer: books}), Observer: books, Log: zap.NewNop()}
	ctx, cancel := context.WithCancel(t.Context())
	s.enter(&site{addr: b.Addr(), to: &url.URL{Scheme: "http", Host: addrA}}) // the way back
	_ = b.Close()
	ended := make(chan error, 2)
	go func() { ended <- s.ServeReverse(ctx, a, &url.URL{Scheme: "http", Host: "localhost:" + portB}) }() // end with ctx
	go func() { ended <- s.ServeTCP(ctx, c, addrC) }()
	resp, err := http.Get("http://" + addrA)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusLoopDetected || !strings.Contains(string(body), "itself") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	http.DefaultClient.CloseIdleConnections()
	if nc, err := net.Dial("tcp", addrC); err == nil {
		if _, err := nc.Read(make([]byte, 1)); err == nil {
			t.Error("a TCP door to itself says something")
		}
		_ = nc.Close()
	}
	for _, e := range books.ends(t, 2) {
		if e.Fate != ConnDropped || e.Reason != "the door leads to itself" {
			t.Errorf("ended as %+v", e)
		}
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	books.audit(t)
}

// Under load with all sorts of faults, clients and departures the books balance.
func TestLoadKeepsTheBooks(t *testing.T) {
	faults := []*fixtures.Fault{
		nil, nil, nil,
		{Kind: fixtures.FaultStatus, Status: 503, Body: []byte("busy")},
		{Kind: fixtures.FaultReset}, {Kind: fixtures.FaultReset, Where: fixtures.WhereMidBody}, {Kind: fixtures.FaultReset, Where: fixtures.WhereAfterResponse},
		{Kind: fixtures.FaultClose}, {Kind: fixtures.FaultHang, For: time.Millisecond}, {Kind: fixtures.FaultTruncate, AfterShare: 0.5},
		{Kind: fixtures.FaultCorrupt, Share: 0.1, Seed: 1}, {Kind: fixtures.FaultMalformed, Where: fixtures.WhereHeader},
		{Kind: fixtures.FaultGoAway, Code: 2}, {Kind: fixtures.FaultRSTStream, Code: 3},
	}
	p := &planned{plan: func(x *Exchange) fixtures.Plan {
		return fixtures.Plan{Fault: faults[x.ID%uint64(len(faults))], HoldFirstByte: time.Duration(x.ID%3) * time.Millisecond}
	}}
	to := origin(t, "h1", kitchen)
	g := newRig(t, to, planning(p), recording)
	tunnels := newRig(t, "", forwarding, planning(p), recording)
	done := make(chan struct{})
	for i := range 64 {
		go func() { // ends with its requests
			defer func() { done <- struct{}{} }()
			c, base := g.client(clientModes[i%len(clientModes)])
			if i%8 == 7 {
				c, base = tunnels.throughProxy(false), to
			}
			defer c.CloseIdleConnections()
			for n := range 8 {
				ctx, cancel := context.WithCancel(context.Background())
				method, path, body := "GET", "/long", io.Reader(nil)
				if n%2 == 1 {
					method, path, body = "POST", "/echo", strings.NewReader(string(long[:50000]))
				}
				req, _ := http.NewRequestWithContext(ctx, method, base+path, body)
				resp, err := c.Do(req)
				if err == nil {
					if (i+n)%5 == 0 { // leave in the middle
						cancel()
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
				cancel()
			}
		}()
	}
	for range 64 {
		<-done
	}
	g.stop() // audits
	tunnels.stop()
	if len(g.books.all) < 64*7 {
		t.Errorf("%d exchanges on the books, want at least %d", len(g.books.all), 64*7)
	}
}

// A hang that a rule asked for has no end of its own: it ends with the run, and
// does not hold a shutdown up for the whole of Grace.
func TestDrainEndsHangs(t *testing.T) {
	draining, begun := make(chan struct{}), make(chan struct{}, 1)
	p := &planned{plan: func(*Exchange) fixtures.Plan {
		begun <- struct{}{}
		return fixtures.Plan{Fired: []string{"hang"}, Fault: &fixtures.Fault{Kind: fixtures.FaultHang}}
	}}
	g := newRig(t, origin(t, "h1", sayHello), planning(p), tune(func(o *Options) { o.Draining = draining }))
	answered := make(chan string, 1)
	go func() { // ends with the hang
		got, _ := g.ask(getSlash)
		answered <- got
	}()
	<-begun
	close(draining)
	if got := <-answered; len(got) != 0 {
		t.Errorf("a hang that ends with the run answers %q, want nothing", got)
	}
	if x := g.books.exchange(t, 1); x.Outcome != fixtures.OutcomeFault || x.Error != "" {
		t.Errorf("outcome %q, error %q, want a fault without error", x.Outcome, x.Error)
	}
}

// A connection that switched protocols has no end of its own either. Where the client is
// gone and the upstream does not care, nobody's end but the run's ends it.
func TestDrainEndsUpgrades(t *testing.T) {
	draining, over := make(chan struct{}), make(chan struct{})
	to := origin(t, "h1", func(w http.ResponseWriter, _ *http.Request) {
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhi")
		<-over
	})
	defer close(over)
	g := newRig(t, to, tune(func(o *Options) { o.Draining = draining }))
	nc := g.dial()
	_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	br := bufio.NewReader(nc)
	if _, err := http.ReadResponse(br, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(br, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
	close(draining)
	if x := g.books.exchange(t, 1); x.Response.Status != 101 || x.Outcome != "" || x.Error != "" {
		t.Errorf("status %d, outcome %q, error %q; want a complete 101", x.Response.Status, x.Outcome, x.Error)
	}
}

// A client that refuses our certificate says so in several ways; each is told as what it is.
func TestDistrust(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{io.EOF, true},
		{errors.New("remote error: tls: unknown certificate authority"), true},
		{errors.New("local error: tls: bad record MAC"), true},
		{errors.New("tls: client offered only unsupported versions"), false},
	} {
		reason, got := distrust(c.err)
		if said := strings.Contains(reason, "does it trust understudy's CA?"); got != c.want || said != c.want {
			t.Errorf("distrust(%v) speaks of trust: %t, want %t", c.err, got, c.want)
		}
	}
}

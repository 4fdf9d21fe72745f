package gate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// LoadOptions describe one load. They travel as JSON to a process of its own.
type LoadOptions struct {
	URL         string        `json:"url"`       // what to GET
	ProxyURL    string        `json:"proxy_url"` // forward proxy to go through; "" for none
	CAFile      string        `json:"ca_file"`   // roots in PEM for https; "" for the system's
	Connections int           `json:"connections"`
	Duration    time.Duration `json:"duration_ns"` // of what is measured; a tenth more warms up
	// Rate, in requests per second over all connections, makes an open loop:
	// requests have an intended start, whatever became of the ones before.
	// 0 is a closed loop: each connection sends as soon as it has its answer.
	Rate float64 `json:"rate"`
}

// LoadResult is what a load came to.
type LoadResult struct {
	Requests   int            `json:"requests"` // answered with 2xx and part of the block
	Outside    int            `json:"outside"`  // answered with 2xx before the block or after it
	Errors     int            `json:"errors"`   // whenever they happened
	FirstError string         `json:"first_error,omitempty"`
	Elapsed    time.Duration  `json:"elapsed_ns"`
	Latency    timing.Summary `json:"latency"`
}

// Throughput is in requests per second.
func (r LoadResult) Throughput() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Requests) / r.Elapsed.Seconds()
}

// Loader runs a load and returns its result. Requests that fail are in the
// result; an error means that there was no load.
type Loader func(ctx context.Context, o LoadOptions) (LoadResult, error)

// RunLoad runs a load in this process: keep-alive HTTP/1.1 connections, one
// request at a time on each.
//
// In an open loop a latency counts from the intended start if the connection was
// still waiting for an earlier answer then (a slow proxy must not slow its own
// measurement), and from the real one if only this process's clock was late.
func RunLoad(ctx context.Context, o LoadOptions) (LoadResult, error) {
	d, err := newDialer(o)
	if err != nil {
		return LoadResult{}, fmt.Errorf("run load: %w", err)
	}
	return runLoad(ctx, o, d.dial, d.request, sleepUntil)
}

// maxInARow is how many requests of a connection may fail one after the other
// before it gives up: a dead target must not be hammered.
const maxInARow = 5

func runLoad(ctx context.Context, o LoadOptions, dial func(context.Context) (net.Conn, error), request []byte, sleep func(time.Time)) (LoadResult, error) {
	if o.Connections < 1 || o.Duration <= 0 || o.Rate < 0 {
		return LoadResult{}, fmt.Errorf("run load: want connections and a duration above 0, got %d and %v at a rate of %v", o.Connections, o.Duration, o.Rate)
	}
	workers := make([]*worker, o.Connections)
	for i := range workers {
		workers[i] = &worker{dial: dial, request: request, sleep: sleep, closedLoop: o.Rate == 0, samples: make([]time.Duration, 0, 1<<12)}
	}
	var wg sync.WaitGroup
	for _, w := range workers { // all connect before any sends
		wg.Go(func() { w.connect(ctx) })
	}
	wg.Wait()
	start := time.Now()
	begin := start.Add(o.Duration / 10)
	end := begin.Add(o.Duration)
	for i, w := range workers {
		wg.Go(func() { // ends at end, or with ctx
			defer w.close()
			if w.closedLoop {
				w.closed(ctx, begin, end)
				return
			}
			// The connections take turns.
			gap := time.Duration(float64(o.Connections) / o.Rate * float64(time.Second))
			w.open(ctx, start.Add(gap*time.Duration(i)/time.Duration(o.Connections)), gap, begin, end)
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return LoadResult{}, fmt.Errorf("run load: %w", err)
	}
	r := LoadResult{Elapsed: o.Duration}
	var all []time.Duration
	for _, w := range workers {
		all = append(all, w.samples...)
		r.Outside += w.outside
		r.Errors += w.errors
		if r.FirstError == "" && w.firstError != nil {
			r.FirstError = w.firstError.Error()
		}
	}
	r.Requests, r.Latency = len(all), timing.Summarize(all)
	return r, nil
}

// worker is one connection of a load.
type worker struct {
	dial    func(context.Context) (net.Conn, error)
	request []byte
	sleep   func(time.Time)
	// closedLoop counts a request where it ends, so that a block holds what the
	// proxy got done in it; an open loop counts it where it begins.
	closedLoop bool

	c          *client
	unhook     func() bool
	samples    []time.Duration
	outside    int
	errors     int
	inARow     int
	firstError error
}

func (w *worker) connect(ctx context.Context) {
	conn, err := w.dial(ctx)
	if err != nil {
		w.failed(err)
		return
	}
	w.c = newClient(conn)
	w.unhook = context.AfterFunc(ctx, func() { conn.Close() })
}

func (w *worker) close() {
	if w.c != nil {
		w.unhook()
		w.c.conn.Close()
		w.c = nil
	}
}

func (w *worker) failed(err error) {
	w.errors++
	w.inARow++
	if w.firstError == nil {
		w.firstError = err
	}
}

// do sends one request that counts from start.
func (w *worker) do(ctx context.Context, start, begin, end time.Time) {
	if w.c == nil {
		if w.connect(ctx); w.c == nil {
			return
		}
	}
	keep, err := w.c.exchange(w.request)
	now := time.Now()
	counts := start
	if w.closedLoop {
		counts = now
	}
	switch {
	case err != nil:
		w.failed(err)
	case counts.Before(begin) || w.closedLoop && now.After(end):
		w.outside++
		w.inARow = 0
	default:
		w.samples = append(w.samples, now.Sub(start))
		w.inARow = 0
	}
	if err != nil || !keep {
		w.close()
	}
}

func (w *worker) closed(ctx context.Context, begin, end time.Time) {
	for w.inARow < maxInARow && ctx.Err() == nil {
		now := time.Now()
		if !now.Before(end) {
			return
		}
		w.do(ctx, now, begin, end)
	}
}

func (w *worker) open(ctx context.Context, first time.Time, gap time.Duration, begin, end time.Time) {
	free := time.Now() // since when the connection has waited for its turn
	for intended := first; intended.Before(end); intended = intended.Add(gap) {
		if w.inARow >= maxInARow || ctx.Err() != nil {
			return
		}
		start := intended
		if free.Before(intended) {
			w.sleep(intended)
			start = time.Now()
		}
		w.do(ctx, start, begin, end)
		free = time.Now()
	}
}

// dialer connects as LoadOptions say.
type dialer struct {
	addr    string // to dial: the proxy's, or the target's
	target  string // host:port of the target
	tunnel  bool   // CONNECT first
	tls     *tls.Config
	request []byte
}

func newDialer(o LoadOptions) (*dialer, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("want an http or https URL, got %q", o.URL)
	}
	d := &dialer{target: hostPort(u)}
	d.addr = d.target
	form := u.RequestURI()
	if o.ProxyURL != "" {
		p, err := url.Parse(o.ProxyURL)
		if err != nil {
			return nil, err
		}
		if p.Scheme != "http" || p.Host == "" {
			return nil, fmt.Errorf("want an http URL of a forward proxy, got %q", o.ProxyURL)
		}
		d.addr = hostPort(p)
		if d.tunnel = u.Scheme == "https"; !d.tunnel {
			form = u.Scheme + "://" + u.Host + u.RequestURI()
		}
	}
	if u.Scheme == "https" {
		d.tls = &tls.Config{ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}}
		if o.CAFile != "" {
			roots, err := os.ReadFile(o.CAFile)
			if err != nil {
				return nil, err
			}
			d.tls.RootCAs = x509.NewCertPool()
			if !d.tls.RootCAs.AppendCertsFromPEM(roots) {
				return nil, fmt.Errorf("no certificate in %s", o.CAFile)
			}
		}
	}
	d.request = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: understudy-gate\r\nAccept: */*\r\n\r\n", form, u.Host)
	return d, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func (d *dialer) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var nd net.Dialer
	conn, err := nd.DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	if d.tunnel {
		if err := d.connectThrough(ctx, conn); err != nil {
			conn.Close()
			return nil, err
		}
	}
	if d.tls == nil {
		return conn, nil
	}
	c := tls.Client(conn, d.tls)
	if err := c.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (d *dialer) connectThrough(ctx context.Context, conn net.Conn) error {
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := fmt.Fprintf(conn, "CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", d.target); err != nil {
		return err
	}
	// The head alone is read: what follows it belongs to the tunnel, and a
	// proxy sends nothing there before the client's hello.
	status, err := newClient(conn).connectHead()
	if err != nil {
		return errors.Join(fmt.Errorf("CONNECT %s: %w", d.target, err), ctx.Err())
	}
	if status != 200 {
		return fmt.Errorf("CONNECT %s: the proxy answered %d", d.target, status)
	}
	return nil
}

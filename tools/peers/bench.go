package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench is one run: its directory, its children, the upstream.
type bench struct {
	options
	talk     io.Writer
	dir      string
	env      []string
	self     string
	done     string // wrk's script that only prints the result
	running  []*process
	serial   int
	plainURL string // the upstream in clear, without path
	tlsURL   string // the upstream over TLS
}

func newBench(o options, talk io.Writer) (*bench, error) {
	dir, err := os.MkdirTemp("", "understudy-peers-")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, talk: talk, dir: dir}
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	// The children's home is the run's directory, so that none of them
	// reads or leaves a setting of the user's.
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "UNDERSTUDY_") && !strings.HasPrefix(e, "HOME=") && !strings.HasPrefix(e, "XDG_") {
			b.env = append(b.env, e)
		}
	}
	b.env = append(b.env, "HOME="+dir, "no_proxy=*", "NO_PROXY=*")
	if b.done, err = b.script("done", ""); err != nil {
		return nil, err
	}
	return b, b.writeFiles()
}

// close ends every child that is left and removes the directory.
func (b *bench) close() error {
	for _, p := range slices.Backward(slices.Clone(b.running)) {
		b.stop(p)
	}
	return os.RemoveAll(b.dir)
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// server is a subject that runs.
type server struct {
	url     string // what wrk asks
	script  string // wrk's script; empty for the usual one
	forward string // the address of a forward proxy, where it is one
	probe   string // what is asked to see that it works; empty for url
	process *process
	ended   func() string // called after the end; what it says is told
}

// subject is one program in one mode.
type subject struct {
	name  string
	start func(context.Context, *bench) (server, error)
	fresh bool          // started anew for each measurement
	warm  time.Duration // how long it is loaded before anything counts
	bare  bool          // the upstream itself: nothing in between to measure
	// paced is set where the clients make the delay that is asked of the others: they
	// pause so long before each request, and what they see is all their own round trip.
	paced bool
}

// group is a set of subjects that get the same load.
type group struct {
	name     string
	title    string
	note     string
	ref      string // the subject that ratios are against
	conns    []int
	size     int // of the body asked for, in bytes
	asked    time.Duration
	seconds  int           // a measurement takes so long at least
	think    time.Duration // clients pause up to this long before each request
	subjects []subject
}

// delayOf is the delay that is asked of a subject.
func (g *group) delayOf(subject string) time.Duration {
	for _, s := range g.subjects {
		if s.name == subject && s.paced {
			return 0
		}
	}
	return g.asked
}

// sample is one measurement. CPU and RSS are NaN where there was no process
// to measure, or no request.
type sample struct {
	cpu      float64 // µs a request
	rps      float64
	p50, p99 float64 // µs
	rss      float64 // MiB
	stamps   stamps  // where a delay is asked
}

// cell holds the samples of one subject at one number of connections, one a round.
type cell struct {
	subject string
	conns   int
	samples []sample
}

// table is a group that was measured.
type table struct {
	group group
	cells []*cell
	notes []string
}

func (t *table) find(subject string, conns int) *cell {
	for _, c := range t.cells {
		if c.subject == subject && c.conns == conns {
			return c
		}
	}
	return nil
}

// runGroup starts the group's subjects, measures them in turn, and ends them.
// A subject that does not start, or that answers wrong, is left out and told.
func (b *bench) runGroup(ctx context.Context, g group) (*table, error) {
	fmt.Fprintf(b.talk, "== %s\n", g.title)
	t := &table{group: g}
	note := func(format string, args ...any) {
		s := fmt.Sprintf(format, args...)
		fmt.Fprintln(b.talk, "NOTE", s)
		t.notes = append(t.notes, s)
	}
	servers := map[string]server{}
	stop := func(name string) {
		s := servers[name]
		delete(servers, name)
		if s.process != nil {
			b.stop(s.process)
		}
		if s.ended != nil {
			if said := s.ended(); said != "" {
				note("%s: %s", name, said)
			}
		}
	}
	defer func() {
		for name := range servers {
			stop(name)
		}
	}()
	var there []subject
	for _, s := range g.subjects {
		if !s.bare && !b.subjects.MatchString(s.name) {
			continue
		}
		srv, err := b.bring(ctx, g, s)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			note("%s is left out: %v", s.name, err)
			continue
		}
		servers[s.name] = srv
		there = append(there, s)
		for _, n := range g.conns {
			t.cells = append(t.cells, &cell{subject: s.name, conns: n})
		}
	}
	for round := range b.rounds {
		for _, n := range g.conns {
			for i := range there {
				// Every second round goes backwards: a drift of the machine
				// then burdens all alike.
				if round%2 == 1 {
					i = len(there) - 1 - i
				}
				s := there[i]
				if _, ok := servers[s.name]; !ok {
					srv, err := b.bring(ctx, g, s)
					if err != nil {
						return nil, fmt.Errorf("start %s again: %w", s.name, err)
					}
					servers[s.name] = srv
				}
				got, bad, err := b.once(ctx, servers[s.name], n, max(b.seconds, g.seconds))
				if err != nil {
					return nil, fmt.Errorf("measure %s: %w", s.name, err)
				}
				if bad > 0 {
					note("%s, %d connections, round %d: wrk counted %d errors", s.name, n, round+1, bad)
				}
				if got.rps == 0 {
					note("%s, %d connections, round %d: not one answer in time", s.name, n, round+1)
				}
				if g.asked > 0 {
					// After all that wrk's figures are taken from: what is judged
					// has nothing to do with stamps.
					if got.stamps, err = b.stamped(ctx, g.stampLoad(s, servers[s.name].url, n, b.seconds)); err != nil {
						return nil, fmt.Errorf("measure %s: %w", s.name, err)
					}
					if got.stamps.errors > 0 {
						note("%s, %d connections, round %d: the stamping client counted %d errors, the first: %s", s.name, n, round+1, got.stamps.errors, got.stamps.first)
					}
				}
				c := t.find(s.name, n)
				c.samples = append(c.samples, got)
				fmt.Fprintf(b.talk, "   round %d, %5d conn  %-34s cpu %8.1f µs  %8.0f req/s  p50 %7.0f µs  p99 %7.0f µs  rss %5.0f MiB\n",
					round+1, n, s.name, got.cpu, got.rps, got.p50, got.p99, got.rss)
				if g.asked > 0 {
					fmt.Fprintln(b.talk, "      stamped:", got.stamps)
				}
				if s.fresh {
					stop(s.name)
				}
			}
		}
	}
	return t, nil
}

// bring starts a subject, waits until it answers rightly, and warms it up.
func (b *bench) bring(ctx context.Context, g group, s subject) (server, error) {
	srv, err := s.start(ctx, b)
	if err != nil {
		return srv, err
	}
	fail := func(err error) (server, error) {
		if srv.process != nil {
			b.stop(srv.process)
		}
		return server{}, err
	}
	if srv.script == "" {
		srv.script = b.done
	}
	least := time.Duration(0)
	if s.paced {
		least = g.asked
	}
	if least+g.think > 0 {
		if srv.script, err = b.thinkScript(least, g.think); err != nil {
			return fail(err)
		}
	}
	if err := b.ready(ctx, srv, g.size); err != nil {
		return fail(err)
	}
	if s.warm > 0 {
		// Whole seconds: wrk knows no others.
		if _, err := b.drive(ctx, srv.url, srv.script, 16, int(s.warm/time.Second)); err != nil {
			return fail(err)
		}
	}
	return srv, nil
}

// ready waits until the server gives 200 and a body of the wanted size.
func (b *bench) ready(ctx context.Context, srv server, size int) error {
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	ask := cmp.Or(srv.probe, srv.url)
	if srv.forward != "" {
		transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: srv.forward})
	}
	client := &http.Client{Transport: transport, Timeout: 60 * time.Second}
	until := time.Now().Add(4 * time.Minute)
	for {
		if srv.process != nil {
			if err := srv.process.alive(); err != nil {
				return err
			}
		}
		err := answers(ctx, client, ask, size)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Now().After(until) {
			return fmt.Errorf("never answered rightly: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func answers(ctx context.Context, client *http.Client, ask string, size int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ask, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || n != int64(size) {
		return fmt.Errorf("GET %s = %d with %d bytes, want 200 with %d", ask, resp.StatusCode, n, size)
	}
	return nil
}

// once loads a server and measures it, and counts wrk's errors.
func (b *bench) once(ctx context.Context, srv server, conns, seconds int) (sample, int, error) {
	if srv.process == nil {
		l, err := b.drive(ctx, srv.url, srv.script, conns, seconds)
		return sample{cpu: math.NaN(), rss: math.NaN(), rps: l.rps(), p50: l.p50, p99: l.p99}, l.errors, err
	}
	before, err := srv.process.cpu()
	if err != nil {
		return sample{}, 0, err
	}
	l, err := b.drive(ctx, srv.url, srv.script, conns, seconds)
	if err != nil {
		return sample{}, 0, err
	}
	after, err := srv.process.settled()
	if err != nil {
		return sample{}, 0, err
	}
	cpu := math.NaN()
	if l.requests > 0 {
		cpu = float64((after - before).Microseconds()) / float64(l.requests)
	}
	return sample{
		cpu: cpu,
		rps: l.rps(), p50: l.p50, p99: l.p99,
		rss: float64(srv.process.rss()) / (1 << 20),
	}, l.errors, nil
}

func (l load) rps() float64 {
	if l.took <= 0 {
		return 0
	}
	return float64(l.requests) / l.took.Seconds()
}

// settled is the CPU time once the process is at rest: what a recorder still
// has to write when the load ends belongs to the requests.
func (p *process) settled() (time.Duration, error) {
	last, err := p.cpu()
	for range 60 {
		if err != nil {
			return 0, err
		}
		time.Sleep(50 * time.Millisecond)
		var now time.Duration
		now, err = p.cpu()
		if now-last < 2*time.Millisecond {
			return now, err
		}
		last = now
	}
	return last, err
}

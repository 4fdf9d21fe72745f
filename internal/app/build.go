package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/internal/admin"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/internal/redirect"
	"github.com/understudy-proxy/understudy/internal/telemetry"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/proxy"
	"github.com/understudy-proxy/understudy/proxy/ca"
	"github.com/understudy-proxy/understudy/proxy/dial"
	"github.com/understudy-proxy/understudy/proxy/upstream"
	"github.com/understudy-proxy/understudy/recorder"
	"github.com/understudy-proxy/understudy/rules"
	"github.com/understudy-proxy/understudy/shaping/timeline"
	"github.com/understudy-proxy/understudy/shaping/tunnel"
)

// parts is a run, built and not yet started. Fields that a run has no use for
// are nil.
type parts struct {
	o      Options
	c      *config.Config
	log    *zap.Logger // samples what repeats
	each   *zap.Logger // does not
	events *Events
	start  time.Time
	seed   uint64

	books     *books
	engine    *rules.Engine
	gate      *gatekeeper
	places    []rules.Place
	rulesOpts rules.Options
	player    *player
	stubFiles stubFiles // the player's
	models    []working // likewise; none without --timing model
	recorder  *recorder.Recorder
	transport *upstream.Transport
	authority func() (*ca.Authority, error) // loads or makes it at the first call
	trust     func() (*trusting, error)     // waits for what makes a captured command trust it; nil for none
	pipeline  *proxy.Pipeline
	server    *proxy.Server
	admin     *admin.Server
	state     state
	draining  chan struct{} // closed when the run begins to end

	listeners   []listener
	dialer      dial.Dialer     // of all that goes out
	own         *redirect.Own   // what goes out, where transparent doors are; else nil
	lease       *redirect.Lease // of the rules that lead to them; nil for none
	ahead       *gateway.Ahead  // the command's namespaces, while the rest is made; nil for none
	leaving     sync.WaitGroup  // of who takes them away
	inNamespace bool            // the command runs in namespaces of its own
	roots       string          // a file in which it finds our authority; "" where it has no namespace

	hasLink   bool                              // something is asked of a captured command's link
	linkPlan  atomic.Pointer[timeline.Timeline] // what is; nil for nothing
	linkIsNew chan struct{}                     // has one when linkPlan was replaced
	// linkSource is what linkPlan was read from: the watcher's, once it runs.
	linkSource string
	shaped     *shaped                // what is in force of it; nil for nothing
	shapedNow  atomic.Pointer[shaped] // the same, for other goroutines
	// carry runs what carries the link's packets, until all connections have ended: what
	// the command said last is still under way when it has.
	carry func(*tunnel.Link)
	// refusedUDP is what a captured command sent that was neither TCP nor DNS.
	refusedUDP []gateway.RefusedUDP
	output     string // the cassette that is recorded; "" for none
	ownToken   string // the file of a token that ends with the run; "" for none
}

// listener is an open door.
type listener struct {
	config.Listener
	ln    net.Listener
	door  *redirect.Door // ln, where it is transparent; else nil
	shown string         // as in `listening KIND SHOWN`
}

// build makes all parts and opens all sockets. On an error nothing is left open.
func build(o Options) (*parts, error) {
	p := &parts{o: o, c: o.Config, start: time.Now(), draining: make(chan struct{})}
	steps := []func() error{
		p.findCommand, p.makeLog, p.checkScope, p.readLink, p.makeRules, p.prepareCapture, p.makePlayer, p.makeAuthority, p.makeUpstream,
		p.openListeners, p.makeRecorder, p.makePipeline, p.makeAdmin, p.installRules,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			p.abandon()
			return nil, err
		}
	}
	return p, nil
}

// abandon closes what build had opened.
func (p *parts) abandon() {
	p.ahead.Close()
	if p.trust != nil {
		_, _ = p.trust() // it is being sought
	}
	p.removeRules()
	for _, l := range p.listeners {
		_ = l.ln.Close()
	}
	if p.admin != nil {
		_ = p.admin.Close()
	}
	if p.ownToken != "" {
		_ = os.Remove(p.ownToken)
	}
	if p.recorder != nil {
		p.recorder.Discard()
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.recorder.Run(ended) // gives its lock back
	}
	if p.transport != nil {
		_ = p.transport.Close()
	}
}

// findCommand looks the command up before anything is made for it.
func (p *parts) findCommand() error {
	if len(p.o.Command) == 0 {
		return nil
	}
	_, code, err := lookUp(p.o.Command[0])
	return coded(code, err)
}

func (p *parts) makeLog() error {
	log, each, err := telemetry.NewLogger(p.c.Log.Level, p.c.Log.Format, p.o.Stderr)
	if err != nil {
		return Usage(err)
	}
	p.log, p.each = log, each
	// With a command, standard output is the command's.
	out := p.o.Stdout
	if len(p.o.Command) > 0 {
		out = p.o.Stderr
	}
	p.events = NewEvents(out, p.o.JSON)
	p.seed = p.c.Seed
	if !p.c.IsSet("seed") {
		p.seed = timing.Root()
	}
	return nil
}

// checkScope refuses what this version cannot do, by name.
func (p *parts) checkScope() error {
	if err := p.checkTransparent(); err != nil {
		return err
	}
	if len(p.c.Listen) == 0 {
		if len(p.o.Command) == 0 {
			hint := cmp.Or(p.c.Unread(), "--forward :8080, --reverse :9001=http://127.0.0.1:7001, or a command behind --")
			return Usage(errors.New("nothing to listen on\nhint: " + hint))
		}
		if !p.captures() {
			p.c.Listen = []config.Listener{forwardForCommand}
		}
	}
	if len(p.c.Publish) > 0 && !p.captures() {
		return Usage(errors.New("publish: only a command that is captured in a namespace has ports of its own\nhint: a command behind --, and no listener or --capture namespace"))
	}
	return nil
}

// forwardForCommand is the door of a command that is captured by variables.
var forwardForCommand = config.Listener{Kind: config.ListenForward, Addr: "127.0.0.1:0"}

func (p *parts) makeRules() error {
	p.rulesOpts = rules.Options{Empirical: empirical}
	if !p.c.Rules.IsZero() || p.linkInFile() {
		p.places = append(p.places, rules.Place{Path: p.c.File, Shared: true})
	}
	for _, f := range p.c.RuleFiles {
		p.places = append(p.places, rules.Place{Path: f})
	}
	p.engine = rules.NewEngine(p.seed, func(rule string, err error) {
		p.log.Warn("rule cannot be evaluated; it counts as no match", zap.String("rule", rule), zap.Error(err))
	})
	p.gate = &gatekeeper{engine: p.engine, start: p.start}
	if len(p.places) == 0 {
		return nil
	}
	set, err := rules.Load(p.places, p.rulesOpts)
	if err == nil {
		err = knownClasses(set, p.linkPlan.Load())
	}
	if err != nil {
		return BadInput(err)
	}
	p.engine.Swap(set)
	return nil
}

// makeAuthority prepares to answer TLS clients. A forward door is there for
// HTTPS, too, and says at once where that cannot work; at a reverse door the
// authority is made when the first TLS client comes.
func (p *parts) makeAuthority() error {
	p.authority = sync.OnceValues(func() (*ca.Authority, error) {
		dir := p.c.Intercept.CADir
		if dir == "" {
			var err error
			if dir, err = ca.DefaultDir(); err != nil {
				return nil, err
			}
		}
		return ca.Load(dir)
	})
	if p.captures() {
		p.trust = p.seekTrust()
	}
	for _, l := range p.c.Listen {
		if l.Kind == config.ListenForward || l.Kind == config.ListenTransparent {
			_, err := p.authority()
			return coded(ExitSetup, err)
		}
	}
	return nil
}

// tlsFor answers a TLS client that asks for host.
func (p *parts) tlsFor(host string) *tls.Config {
	authority, err := p.authority()
	if err != nil {
		p.log.Error("TLS client cannot be answered", zap.Error(err))
		return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, err }}
	}
	return authority.TLSConfig(host)
}

func (p *parts) makeUpstream() error {
	for _, l := range p.c.Listen {
		if l.Kind == config.ListenTransparent {
			p.own = &redirect.Own{}
			p.dialer.One = p.own.Dial
			break
		}
	}
	if p.c.Mode == config.ModeReplay && p.c.OnMiss == config.MissFail {
		return nil // nothing may go out
	}
	u := &p.c.Upstream
	p.transport = &upstream.Transport{
		InsecureSkipVerify: u.Insecure, Resolve: u.ConnectTo,
		DialTimeout: bound(u.Timeouts.Connect), TLSHandshakeTimeout: bound(u.Timeouts.TLS),
		ResponseHeaderTimeout: u.Timeouts.ResponseHeader, IdleTimeout: bound(u.Timeouts.Idle),
		UnacknowledgedTimeout: bound(u.Timeouts.Unacknowledged),
		DialContext:           p.dialer.DialContext,
	}
	if u.CAFile == "" {
		return nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return Setup(fmt.Errorf("system roots: %w", err))
	}
	data, err := os.ReadFile(u.CAFile)
	if err != nil {
		return BadInput(fmt.Errorf("upstream.ca_file: %w", err))
	}
	if !roots.AppendCertsFromPEM(data) {
		return BadInput(fmt.Errorf("upstream.ca_file: %s: no certificate in it\nhint: PEM is wanted, with BEGIN CERTIFICATE", u.CAFile))
	}
	p.transport.RootCAs = roots
	return nil
}

// bound is a configured bound as the transport takes it, to which 0 is its own default:
// to a configuration it is none, for which a century stands.
func bound(d time.Duration) time.Duration {
	if d == 0 {
		return 100 * 365 * 24 * time.Hour
	}
	return d
}

func (p *parts) openListeners() error {
	for _, l := range p.c.Listen {
		if err := p.openListener(l); err != nil {
			return err
		}
	}
	return nil
}

func (p *parts) openListener(l config.Listener) error {
	if l.Kind == config.ListenTransparent {
		return p.openDoor(l)
	}
	ln, err := net.Listen("tcp", l.Addr)
	if err != nil {
		return listenError(l, err)
	}
	open := listener{Listener: l, ln: ln, shown: "http://" + ln.Addr().String()}
	if l.Kind == config.ListenTCP {
		open.shown = ln.Addr().String()
	}
	p.listeners = append(p.listeners, open)
	return nil
}

// listenError says which listener could not be opened; nil for no error.
func listenError(l config.Listener, err error) error {
	if err == nil {
		return nil
	}
	return Setup(fmt.Errorf("listen %s: %w\nhint: %s", l, err, listenHint(err)))
}

// listenHint is what mends a socket that could not be opened.
func listenHint(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "the address is none of this machine's: 127.0.0.1 is, or 0.0.0.0 for all that it has"
	case errors.Is(err, fs.ErrPermission):
		return "ports below 1024 need root or CAP_NET_BIND_SERVICE: take a higher one"
	}
	return "port 0 picks a free one"
}

func (p *parts) makeRecorder() error {
	p.books = &books{
		ledger:    recorder.NewLedger(0),
		exchanges: admin.NewRing[admin.Exchange](1000),
		missed:    admin.NewRing[admin.Miss](200),
		gate:      p.gate,
		link:      &p.shapedNow,
	}
	p.books.metrics = telemetry.NewMetrics(telemetry.Options{Version: Version, Recorder: p.recorderStats, Link: p.linkStats})
	if p.c.Log.Access {
		p.books.access = p.each
	}
	if p.c.Mode != config.ModeRecord && (p.c.Mode != config.ModeReplay || p.c.OnMiss != config.MissRecord) {
		return nil
	}
	p.output = p.c.Output
	if p.output == "" {
		p.output = filepath.Join("cassettes", p.start.Format("2006-01-02T150405"))
	}
	rec, err := recorder.New(p.output, recorder.Options{
		Redaction: p.c.Redaction, BodyLimit: int(min(p.c.Limits.BodyMemory, 256<<10)), Budget: p.c.Limits.QueueBytes,
		Tool: "understudy " + Version, Ledger: p.books.ledger, Append: p.o.Append,
		OnError: func(err error) {
			p.log.Error("the recording has stopped; traffic goes on", zap.Error(err))
		},
		OnLoss: func(why recorder.Reason) {
			p.log.Warn("the recording begins to lose exchanges; traffic goes on", zap.String("reason", string(why)), zap.String("hint", raiseQueue))
		},
	})
	if err != nil {
		return coded(ExitSetup, err)
	}
	p.recorder = rec
	return nil
}

// recorderStats feeds the metrics.
func (p *parts) recorderStats() telemetry.RecorderStats {
	if p.recorder == nil {
		return telemetry.RecorderStats{}
	}
	s := p.recorder.Stats()
	out := telemetry.RecorderStats{QueueExchanges: int64(s.Waiting), QueueBytes: s.Held, Written: int64(s.Recorded)}
	for _, n := range s.Dropped {
		out.Dropped += int64(n)
	}
	return out
}

func (p *parts) makePipeline() error {
	o := proxy.Options{
		Observer: p.books, Planner: planner{p.engine, p.start, p.gate, &p.shapedNow}, Log: p.log, Start: p.start, Draining: p.draining,
		Rhythm: p.c.Timing != config.TimingNone, Speed: p.c.Speed, ServerTiming: p.c.ServerTiming,
		BodyLimit: int(max(p.c.Limits.BodyMemory, 16<<20)),
	}
	if p.transport != nil {
		o.Upstream = p.transport
	}
	if p.player != nil {
		o.Responder = p.player
	}
	switch p.c.OnMiss {
	case config.MissForward:
		o.OnMiss = proxy.MissForward
	case config.MissRecord:
		o.OnMiss = proxy.MissRecord
	}
	if p.recorder != nil {
		o.Recorder = tapes{p.recorder}
	}
	p.pipeline = proxy.NewPipeline(o)
	p.server = &proxy.Server{
		Pipeline: p.pipeline, Planner: o.Planner, Observer: p.books, Log: p.log,
		Pass:        func(host string) bool { return !p.c.Intercept.Inspect(host) },
		PassAddress: p.c.Intercept.Exempt,
		Dial:        p.dialOut, HeadBytes: int(p.c.Limits.HeadBytes),
	}
	p.server.TLS = p.tlsFor
	for _, l := range p.c.Listen {
		if l.Kind != config.ListenForward {
			continue
		}
		authority, err := p.authority()
		if err != nil {
			return Setup(err)
		}
		data, err := os.ReadFile(authority.CertPath())
		if err != nil {
			return Setup(fmt.Errorf("certificate authority: %w", err))
		}
		p.server.CACert = data
	}
	return nil
}

// dialOut reaches the destination of a connection that is passed on unread.
func (p *parts) dialOut(ctx context.Context, network, addr string) (net.Conn, error) {
	if to, ok := p.c.Upstream.ConnectTo[addr]; ok {
		addr = to
	}
	if p.c.Mode == config.ModeReplay && p.c.OnMiss == config.MissFail {
		return nil, fmt.Errorf("pass %s: replay sends nothing out; --on-miss forward lets it", addr)
	}
	ctx, cancel := context.WithTimeout(ctx, bound(p.c.Upstream.Timeouts.Connect))
	defer cancel()
	return p.dialer.DialContext(ctx, network, addr)
}

// serve serves one listener until ctx ends.
func (p *parts) serve(ctx context.Context, l listener) error {
	switch l.Kind {
	case config.ListenReverse:
		to, err := url.Parse(l.To)
		if err != nil {
			return err
		}
		return p.server.ServeReverse(ctx, l.ln, to)
	case config.ListenTCP:
		return p.server.ServeTCP(ctx, l.ln, l.To)
	case config.ListenTransparent:
		return p.serveTransparent(ctx, l)
	}
	return p.server.ServeForward(ctx, l.ln)
}

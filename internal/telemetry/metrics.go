package telemetry

import (
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/understudy-proxy/understudy/fixtures"
)

// Bounds on what is remembered; whatever is beyond them counts as overflow.
const (
	maxRoutes  = 200
	maxHosts   = 64
	maxRules   = 200
	maxHandles = 2000 // label sets of the HTTP metrics
)

// Exchange is what the metrics want to know of a finished exchange.
type Exchange struct {
	Method string
	Scheme string // "http" or "https"
	Proto  string // "HTTP/1.0", "HTTP/1.1" or "HTTP/2.0"
	Path   string // of the target; a query is cut off
	Status int    // 0 when no response came
	// ErrorType says why it went wrong: an outcome or an operation such as
	// "dial", from a small set of names. "" for none; then a status of 500 or more stands for itself.
	ErrorType string

	// UpstreamHost and UpstreamPort are whom the request was sent on to; "" where nobody was
	// asked.
	UpstreamHost string
	UpstreamPort string

	Outcome string // "" or "complete", "client", "upstream", "fault", "miss", "dropped"
	Source  string // who answered: "upstream", "cassette", "stub", "rule"; "" for nobody

	Duration time.Duration     // from the request's first byte to the answer's last
	Upstream time.Duration     // of it, spent waiting for the upstream
	Injected time.Duration     // of it, added by rules
	Paced    time.Duration     // of it, added by a recording's pace or a stub's delay
	Own      time.Duration     // of it, ours
	Stages   fixtures.OwnTimes // Own by stage
	// Delayed is set where the answer's beginning was to be delayed, and DelayError is by how
	// much more than asked it was.
	Delayed    bool
	DelayError time.Duration

	RequestBytes  int64 // of body
	ResponseBytes int64
	Fired         []string // names of the rules
}

// RecorderStats is the recorder's state at a scrape.
type RecorderStats struct {
	QueueExchanges int64 // waiting to be written
	QueueBytes     int64
	Written        int64 // exchanges written so far
	WrittenBytes   int64
	Dropped        int64 // exchanges lost because the queue was full
}

// Options for NewMetrics. All may be left out.
type Options struct {
	Version  string
	Revision string
	// Recorder is called at each scrape, from any goroutine.
	Recorder func() RecorderStats
	// Link likewise; ok is false while there is no link.
	Link func() (s LinkStats, ok bool)
}

// Metrics counts what a run does. Its methods are safe for use by several
// goroutines and never block for long.
type Metrics struct {
	registry func() *prometheus.Registry // made at the first call

	served                *served
	active                *active
	conns, reloads, stubs *prometheus.CounterVec
	misses                prometheus.Counter
}

// Durations as OpenTelemetry's HTTP conventions advise, and finer ones for
// what we add ourselves.
var (
	durationBuckets = inSeconds(.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10)
	ownBuckets      = inSeconds(10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, .25, 1)
	stageBuckets    = inSeconds(1e-6, 2.5e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, .25)
	errorBuckets    = inSeconds(0, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, .1, .25, 1)
	sizeBuckets     = &scale{[]int64{0, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 16 << 20, 256 << 20}, 1}
)

var serverLabels = []string{"http_request_method", "http_response_status_code", "http_route", "network_protocol_version", "url_scheme", "error_type"}

// NewMetrics makes the metrics in a registry of their own.
func NewMetrics(o Options) *Metrics {
	served := newServed()
	m := &Metrics{
		served: served,
		active: newActive(served.ended),

		conns:   counters("understudy_connections_total", "Closed client connections by what was done with them.", "fate"),
		reloads: counters("understudy_rules_reloads_total", "Changed rule files by whether they were taken over.", "result"),
		stubs:   counters("understudy_stubs_reloads_total", "Changed files of stubs by whether they were taken over.", "result"),
		misses: prometheus.NewCounter(prometheus.CounterOpts{Name: "understudy_misses_total",
			Help: "Requests that replay had no answer to."}),
	}
	// Counters that were never touched must be scraped as 0, or the first
	// increase is lost on a rate.
	for _, result := range []string{"ok", "refused"} {
		m.reloads.WithLabelValues(result)
		m.stubs.WithLabelValues(result)
	}
	for _, fate := range fates {
		m.conns.WithLabelValues(fate)
	}
	m.registry = sync.OnceValue(func() *prometheus.Registry { return m.register(o) })
	return m
}

// register makes the registry, when the first scrape comes: the Go runtime's own
// metrics take milliseconds.
func (m *Metrics) register(o Options) *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "understudy_build_info", Help: "Always 1."},
		[]string{"version", "revision", "goversion"})
	build.WithLabelValues(o.Version, o.Revision, runtime.Version()).Set(1)
	r.MustRegister(m.served, m.active, m.conns, m.reloads, m.stubs, m.misses, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if o.Recorder != nil {
		r.MustRegister(recorderCollector{o.Recorder})
	}
	if o.Link != nil {
		r.MustRegister(linkCollector{o.Link})
	}
	return r
}

// Handler serves the metrics in the text format or OpenMetrics.
func (m *Metrics) Handler() http.Handler {
	handler := sync.OnceValue(func() http.Handler {
		return promhttp.HandlerFor(m.registry(), promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler().ServeHTTP(w, r) })
}

// Begin counts an exchange as under way until Observe is called with one of the same method
// and scheme.
func (m *Metrics) Begin(method, scheme string) { m.active.begin(method, scheme) }

// Connection counts a closed client connection. Fate is captured, passed, refused
// or dropped.
func (m *Metrics) Connection(fate string) { m.conns.WithLabelValues(known(fate, fates)).Inc() }

// Reload counts a change of the rules: taken over, or refused.
func (m *Metrics) Reload(ok bool) { m.reloads.WithLabelValues(resultOf(ok)).Inc() }

// StubsReload counts a change of the stubs likewise.
func (m *Metrics) StubsReload(ok bool) { m.stubs.WithLabelValues(resultOf(ok)).Inc() }

func resultOf(ok bool) string {
	if ok {
		return "ok"
	}
	return "refused"
}

// Observe counts a finished exchange that began with Begin. It keeps a copy of e for a
// while: what that refers to must not change any more.
func (m *Metrics) Observe(e *Exchange) {
	m.served.counts.Post(e)
	if e.Outcome == "miss" {
		m.misses.Inc()
	}
}

// Fired counts rules that touched something. Observe does so with an exchange's.
func (m *Metrics) Fired(rules ...string) {
	m.served.counts.Do(func(p *servedPart) { m.served.fire(p, rules) })
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// statusTexts saves a conversion on each exchange.
var statusTexts = sync.OnceValue(func() *[1000]string {
	var t [1000]string
	for i := range t {
		t[i] = strconv.Itoa(i)
	}
	return &t
})

package telemetry

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/sharded"
)

// served counts exchanges as the client sees them. It is a collector of its own:
// the library's histograms, shared by all cores, cost an exchange as much as the
// choice of its answer (BenchmarkObserveParallel).
type served struct {
	counts               *sharded.Journal[Exchange, servedPart]
	routes, hosts, rules *bounded

	mu       sync.Mutex
	admitted map[servedKey]bool // at most maxHandles, and the overflow's
	asked    map[clientKey]bool // likewise

	duration, in, out, exchanges         *prometheus.Desc
	own, stages, injected, delayedBeyond *prometheus.Desc
	client, upstream, fired              *prometheus.Desc
}

type servedPart struct {
	routes map[string]string // of those handed out, what this part has seen
	series map[servedKey]*servedSeries
	spent  spent
	asked  askedPart
	ended  activePart
	fired  map[string]*uint64 // by rule
}

// spent is what the time of exchanges went into, but for the upstream's.
type spent struct {
	own           buckets
	stages        [fixtures.Stages]buckets
	rules, pace   buckets
	delayedBeyond buckets
}

func (s *spent) add(e *Exchange) {
	s.own.add(int64(e.Own), ownBuckets)
	for i, d := range e.Stages {
		if d > 0 { // else the exchange did not come to it
			s.stages[i].add(int64(d), stageBuckets)
		}
	}
	if e.Injected > 0 {
		s.rules.add(int64(e.Injected), durationBuckets)
	}
	if e.Paced > 0 {
		s.pace.add(int64(e.Paced), durationBuckets)
	}
	if e.Delayed {
		s.delayedBeyond.add(int64(e.DelayError), errorBuckets)
	}
}

func (s *spent) join(o *spent) {
	s.own.join(&o.own)
	for i := range s.stages {
		s.stages[i].join(&o.stages[i])
	}
	s.rules.join(&o.rules)
	s.pace.join(&o.pace)
	s.delayedBeyond.join(&o.delayedBeyond)
}

type servedSeries struct{ duration, in, out buckets }

func newServed() *served {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	s := &served{
		routes: newBounded(maxRoutes), hosts: newBounded(maxHosts), rules: newBounded(maxRules),
		admitted: map[servedKey]bool{}, asked: map[clientKey]bool{},

		duration:  desc("http_server_request_duration_seconds", "Duration of exchanges as the client sees them.", serverLabels...),
		in:        desc("http_server_request_body_size_bytes", "Size of request bodies as sent.", serverLabels...),
		out:       desc("http_server_response_body_size_bytes", "Size of response bodies as sent.", serverLabels...),
		exchanges: desc("understudy_exchanges_total", "Finished exchanges by how they ended and who answered.", "outcome", "source"),
		own:       desc("understudy_own_seconds", "Time of an exchange spent in understudy itself."),
		stages:    desc("understudy_own_stage_seconds", "Of the time spent in understudy itself, that of a stage.", "stage"),
		injected:  desc("understudy_injected_seconds", "Time of an exchange that was added, by rules or by a replay's pace.", "by"),

		delayedBeyond: desc("understudy_delay_error_seconds", "How much later than asked a delayed answer could begin."),

		client:   desc("http_client_request_duration_seconds", "Duration of upstream round trips.", clientLabels...),
		upstream: desc("understudy_upstream_seconds", "Time of an exchange spent waiting for the upstream."),
		fired:    desc("understudy_rule_fired_total", "Exchanges, connections and names that a rule touched.", "rule"),
	}
	s.counts = sharded.NewJournal(s.add)
	return s
}

// admit returns the key to count under what is new to a part: k, or the
// overflow's where there are too many.
func (s *served) admit(k servedKey) servedKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.admitted[k] && len(s.admitted) >= maxHandles {
		// One more series a metric at most for each outcome and source.
		k = servedKey{overflow, heads{0, anyOther, anyOther, anyOther, noValue}, k.outcome, k.source}
	}
	s.admitted[k] = true
	return k
}

// add counts exchanges in a part. Many in a row are of a kind, whose series need not be
// looked up again.
func (s *served) add(p *servedPart, exchanges []Exchange) {
	if p.series == nil {
		p.routes, p.series = map[string]string{}, map[servedKey]*servedSeries{}
	}
	var last *Exchange
	var one *servedSeries
	var asked *buckets
	for i := range exchanges {
		e := &exchanges[i]
		if last == nil || !e.alike(last) {
			last = e
			k := keyOf(e)
			if asked = nil; e.UpstreamHost != "" {
				asked = p.asked.of(s, e, k.heads)
			}
			one = p.of(s, e, k)
		}
		if asked != nil {
			p.asked.add(asked, e)
		}
		one.duration.add(int64(e.Duration), durationBuckets)
		one.in.add(e.RequestBytes, sizeBuckets)
		one.out.add(e.ResponseBytes, sizeBuckets)
		p.spent.add(e)
		p.ended.add(e.Method, e.Scheme)
		s.fire(p, e.Fired)
	}
}

// alike reports whether two exchanges are counted in the same series.
func (e *Exchange) alike(o *Exchange) bool {
	return e.Path == o.Path && e.Status == o.Status && e.Method == o.Method && e.Scheme == o.Scheme && e.Proto == o.Proto &&
		e.UpstreamHost == o.UpstreamHost && e.UpstreamPort == o.UpstreamPort &&
		e.Outcome == o.Outcome && e.Source == o.Source && e.ErrorType == o.ErrorType
}

// of is the series of an exchange whose key is k but for the route.
func (p *servedPart) of(s *served, e *Exchange, k servedKey) *servedSeries {
	var scratch [128]byte
	k.route = remembered(p.routes, s.routes, appendRoute(scratch[:0], e.Path))
	if one := p.series[k]; one != nil {
		return one
	}
	return entry(p.series, s.admit(k))
}

// ended calls add with each part of the exchanges that ended.
func (s *served) ended(add func(*activePart)) {
	s.counts.Each(func(p *servedPart) { add(&p.ended) })
}

// Describe names the metrics.
func (s *served) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.duration, s.in, s.out, s.exchanges, s.own, s.stages, s.injected, s.delayedBeyond, s.client, s.upstream, s.fired} {
		ch <- d
	}
}

// Collect adds up the parts.
func (s *served) Collect(ch chan<- prometheus.Metric) {
	var all spent
	series := map[[6]string]*servedSeries{}
	ended := map[[2]string]float64{}
	asked := askedPart{series: map[clientKey]*buckets{}}
	fired := map[string]uint64{}
	s.counts.Each(func(p *servedPart) {
		all.join(&p.spent)
		asked.join(&p.asked)
		for rule, n := range p.fired {
			fired[rule] += *n
		}
		for k, one := range p.series {
			sum := entry(series, k.labels())
			sum.duration.join(&one.duration)
			sum.in.join(&one.in)
			sum.out.join(&one.out)
			by := [2]string{valueAt(k.outcome, outcomes, "", overflow), valueAt(k.source, sources, "none", overflow)}
			for _, n := range one.in.counts {
				ended[by] += float64(n)
			}
		}
	})
	ch <- all.own.metric(s.own, ownBuckets)
	for i := range all.stages {
		ch <- all.stages[i].metric(s.stages, stageBuckets, fixtures.Stage(i).String())
	}
	ch <- all.rules.metric(s.injected, durationBuckets, "rule")
	ch <- all.pace.metric(s.injected, durationBuckets, "pace")
	ch <- all.delayedBeyond.metric(s.delayedBeyond, errorBuckets)
	for labels, sum := range series {
		ch <- sum.duration.metric(s.duration, durationBuckets, labels[:]...)
		ch <- sum.in.metric(s.in, sizeBuckets, labels[:]...)
		ch <- sum.out.metric(s.out, sizeBuckets, labels[:]...)
	}
	asked.collect(s, ch)
	for rule, n := range fired {
		ch <- prometheus.MustNewConstMetric(s.fired, prometheus.CounterValue, float64(n), rule)
	}
	for by, n := range ended {
		ch <- prometheus.MustNewConstMetric(s.exchanges, prometheus.CounterValue, n, by[:]...)
	}
}

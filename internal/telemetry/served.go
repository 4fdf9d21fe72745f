package telemetry

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-proxy/understudy/fixtures"
)

// served counts exchanges as the client sees them. It is a collector of its own:
// the library's histograms, shared by all cores, cost an exchange as much as the
// choice of its answer (BenchmarkObserveParallel).
type served struct {
	counts               spread[servedPart]
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
	s.own.add(e.Own.Seconds(), ownBuckets)
	for i, d := range e.Stages {
		if d > 0 { // else the exchange did not come to it
			s.stages[i].add(d.Seconds(), stageBuckets)
		}
	}
	if e.Injected > 0 {
		s.rules.add(e.Injected.Seconds(), durationBuckets)
	}
	if e.Paced > 0 {
		s.pace.add(e.Paced.Seconds(), durationBuckets)
	}
	if e.Delayed {
		s.delayedBeyond.add(e.DelayError.Seconds(), errorBuckets)
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

// buckets is a histogram whose bounds its user knows.
type buckets struct {
	counts [16]uint64 // not cumulative; the last one that is used has no bound
	sum    float64
}

func (b *buckets) add(v float64, bounds []float64) {
	i := 0
	for i < len(bounds) && v > bounds[i] {
		i++
	}
	b.counts[i]++
	b.sum += v
}

func (b *buckets) join(o *buckets) {
	for i, n := range o.counts {
		b.counts[i] += n
	}
	b.sum += o.sum
}

func (b *buckets) metric(d *prometheus.Desc, bounds []float64, labels ...string) prometheus.Metric {
	upTo := make(map[float64]uint64, len(bounds))
	var n uint64
	for i, bound := range bounds {
		n += b.counts[i]
		upTo[bound] = n
	}
	return prometheus.MustNewConstHistogram(d, n+b.counts[len(bounds)], b.sum, upTo, labels...)
}

func newServed() *served {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &served{
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

// observe counts an exchange. It keeps nothing of e.
func (s *served) observe(e *Exchange) {
	var scratch [128]byte
	route := appendRoute(scratch[:0], e.Path)
	k := keyOf(e)
	s.counts.do(func(p *servedPart) {
		if p.series == nil {
			p.routes, p.series = map[string]string{}, map[servedKey]*servedSeries{}
		}
		if e.UpstreamHost != "" {
			p.asked.observe(s, e, k.heads)
		}
		s.fire(p, e.Fired)
		k.route = remembered(p.routes, s.routes, route)
		one := p.series[k]
		if one == nil {
			one = entry(p.series, s.admit(k))
		}
		one.duration.add(e.Duration.Seconds(), durationBuckets)
		one.in.add(float64(e.RequestBytes), sizeBuckets)
		one.out.add(float64(e.ResponseBytes), sizeBuckets)
		p.spent.add(e)
	})
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
	s.counts.each(func(p *servedPart) {
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

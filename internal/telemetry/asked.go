package telemetry

import (
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

var clientLabels = []string{"http_request_method", "http_response_status_code", "network_protocol_version", "url_scheme", "server_address", "server_port", "error_type"}

// clientKey is a label set of what upstreams were asked.
type clientKey struct {
	host, port string
	heads
}

// askedPart is what a part of the counters knows of upstreams.
type askedPart struct {
	hosts  map[string]string // of those handed out, what this part has seen
	series map[clientKey]*buckets
	all    buckets
}

// of is the series of an exchange whose upstream was asked.
func (p *askedPart) of(s *served, e *Exchange, h heads) *buckets {
	if p.series == nil {
		p.hosts, p.series = map[string]string{}, map[clientKey]*buckets{}
	}
	var scratch [128]byte
	host := remembered(p.hosts, s.hosts, append(scratch[:0], e.UpstreamHost...))
	k := clientKey{host, e.UpstreamPort, h}
	if host == overflow || len(k.port) > 5 || !utf8.ValidString(k.port) {
		k.port = overflow
	}
	if one := p.series[k]; one != nil {
		return one
	}
	return entry(p.series, s.admitAsked(k))
}

func (p *askedPart) add(one *buckets, e *Exchange) {
	one.add(int64(e.Upstream), durationBuckets)
	p.all.add(int64(e.Upstream), durationBuckets)
}

// admitAsked returns the key to count under what is new to a part: k, or the
// overflow's where there are too many.
func (s *served) admitAsked(k clientKey) clientKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.asked[k] && len(s.asked) >= maxHandles {
		k = clientKey{overflow, overflow, heads{0, anyOther, anyOther, anyOther, noValue}}
	}
	k.port = strings.Clone(k.port) // not a part of the caller's larger string
	s.asked[k] = true
	return k
}

func (p *askedPart) join(o *askedPart) {
	p.all.join(&o.all)
	for k, one := range o.series {
		entry(p.series, k).join(one)
	}
}

func (p *askedPart) collect(s *served, ch chan<- prometheus.Metric) {
	ch <- p.all.metric(s.upstream, durationBuckets)
	for k, one := range p.series {
		method, status, version, scheme, errorType := k.texts()
		ch <- one.metric(s.client, durationBuckets, method, status, version, scheme, k.host, k.port, errorType)
	}
}

// fire counts rules in a part. Their names are kept where they are within the bound.
func (s *served) fire(p *servedPart, rules []string) {
	for _, rule := range rules {
		n := p.fired[rule]
		if n == nil {
			var scratch [128]byte
			rule = valid(s.rules.get(append(scratch[:0], rule...)))
			if p.fired == nil {
				p.fired = map[string]*uint64{}
			}
			n = entry(p.fired, rule)
		}
		*n++
	}
}

package telemetry

import "github.com/prometheus/client_golang/prometheus"

// active counts exchanges under way by method and scheme. They begin and end
// in whatever part: only the parts' sum means something.
type active struct {
	counts spread[activePart]
	desc   *prometheus.Desc
}

type activePart struct {
	open [activeMethods][activeSchemes]int64
	seen [activeMethods][activeSchemes]bool
}

// One more than the lists are long, for strangers.
const (
	activeMethods = 11
	activeSchemes = 3
)

func newActive() *active {
	return &active{desc: prometheus.NewDesc("http_server_active_requests", "Exchanges under way.",
		[]string{"http_request_method", "url_scheme"}, nil)}
}

func (a *active) add(method, scheme string, n int64) {
	m, s := min(position(method, methods), activeMethods-1), min(position(scheme, schemes), activeSchemes-1)
	a.counts.do(func(p *activePart) {
		p.open[m][s] += n
		p.seen[m][s] = true
	})
}

// Describe names the metric.
func (a *active) Describe(ch chan<- *prometheus.Desc) { ch <- a.desc }

// Collect adds up the parts.
func (a *active) Collect(ch chan<- prometheus.Metric) {
	var sum activePart
	a.counts.each(func(p *activePart) {
		for m := range p.open {
			for s := range p.open[m] {
				sum.open[m][s] += p.open[m][s]
				sum.seen[m][s] = sum.seen[m][s] || p.seen[m][s]
			}
		}
	})
	for m := range sum.open {
		for s := range sum.open[m] {
			if !sum.seen[m][s] {
				continue
			}
			method, scheme := "_OTHER", overflow
			if m < len(methods) {
				method = methods[m]
			}
			if s < len(schemes) {
				scheme = schemes[s]
			}
			ch <- prometheus.MustNewConstMetric(a.desc, prometheus.GaugeValue, float64(sum.open[m][s]), method, scheme)
		}
	}
}

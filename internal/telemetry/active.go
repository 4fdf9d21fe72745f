package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-proxy/understudy/internal/sharded"
)

// active counts exchanges under way by method and scheme: those that began, but for those
// that ended. They do so in whatever part: only the parts' sum means something.
type active struct {
	begun sharded.Value[activePart]
	ended func(add func(*activePart)) // calls add with each part of those that ended
	desc  *prometheus.Desc
}

type activePart [activeMethods][activeSchemes]int64

// One more than the lists are long, for strangers.
const (
	activeMethods = 11
	activeSchemes = 3
)

func newActive(ended func(add func(*activePart))) *active {
	return &active{ended: ended, desc: prometheus.NewDesc("http_server_active_requests", "Exchanges under way.",
		[]string{"http_request_method", "url_scheme"}, nil)}
}

func (a *active) begin(method, scheme string) {
	a.begun.Do(func(p *activePart) { p.add(method, scheme) })
}

func (p *activePart) add(method, scheme string) {
	p[min(position(method, methods), activeMethods-1)][min(position(scheme, schemes), activeSchemes-1)]++
}

func (p *activePart) join(o *activePart, sign int64) {
	for m := range o {
		for s := range o[m] {
			p[m][s] += sign * o[m][s]
		}
	}
}

// Describe names the metric.
func (a *active) Describe(ch chan<- *prometheus.Desc) { ch <- a.desc }

// Collect adds up the parts. Those that ended are asked first: one that began and ended in
// between counts as under way, and none is missing.
func (a *active) Collect(ch chan<- prometheus.Metric) {
	var begun, open activePart
	a.ended(func(p *activePart) { open.join(p, -1) })
	a.begun.Each(func(p *activePart) { begun.join(p, 1) })
	open.join(&begun, 1)
	for m := range open {
		for s := range open[m] {
			if begun[m][s] == 0 {
				continue
			}
			method, scheme := "_OTHER", overflow
			if m < len(methods) {
				method = methods[m]
			}
			if s < len(schemes) {
				scheme = schemes[s]
			}
			ch <- prometheus.MustNewConstMetric(a.desc, prometheus.GaugeValue, float64(open[m][s]), method, scheme)
		}
	}
}

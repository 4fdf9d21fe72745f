package telemetry

import (
	"slices"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	methods  = []string{"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY"}
	fates    = []string{"captured", "passed", "refused", "dropped"}
	outcomes = []string{"complete", "client", "upstream", "fault", "miss", "dropped", "internal", "stopped"}
	sources  = []string{"upstream", "cassette", "stub", "rule", "none"}
	schemes  = []string{"http", "https"}
	protos   = []string{"HTTP/1.1", "HTTP/2.0", "HTTP/1.0"}
	versions = []string{"1.1", "2", "1.0"} // of protos
	// errorTypes are the names that Exchange.ErrorType may have beside statuses.
	errorTypes = []string{"client", "upstream", "fault", "miss", "dropped", "internal", "stopped", "resolve", "dial", "tls", "write", "read", "protocol", "timeout"}
)

// known keeps a label to its few values: "none" for "", overflow for strangers.
func known(s string, values []string) string {
	if s == "" {
		return "none"
	}
	if i := slices.Index(values, s); i >= 0 {
		return values[i] // not s itself, which may hold on to a larger string
	}
	return overflow
}

// statusLabel is "" where no response came.
func statusLabel(status int) string {
	if status < 100 || status > 999 {
		return ""
	}
	return statusTexts()[status]
}

// valid guards against bytes that are no UTF-8, on which the library panics.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return overflow
}

// recorderCollector asks the recorder once a scrape, so that its figures agree.
type recorderCollector struct{ stats func() RecorderStats }

var (
	queueExchangesDesc = prometheus.NewDesc("understudy_recorder_queue_exchanges", "Exchanges waiting to be written.", nil, nil)
	queueBytesDesc     = prometheus.NewDesc("understudy_recorder_queue_bytes", "Bytes waiting to be written.", nil, nil)
	writtenDesc        = prometheus.NewDesc("understudy_recorder_written_total", "Exchanges written to the cassette.", nil, nil)
	writtenBytesDesc   = prometheus.NewDesc("understudy_recorder_written_bytes_total", "Bytes written to the cassette.", nil, nil)
	droppedDesc        = prometheus.NewDesc("understudy_recorder_dropped_total", "Exchanges not recorded because the queue was full.", nil, nil)
)

// Describe names the recorder's metrics.
func (c recorderCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{queueExchangesDesc, queueBytesDesc, writtenDesc, writtenBytesDesc, droppedDesc} {
		ch <- d
	}
}

// Collect takes one look at the recorder.
func (c recorderCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	ch <- prometheus.MustNewConstMetric(queueExchangesDesc, gauge, float64(s.QueueExchanges))
	ch <- prometheus.MustNewConstMetric(queueBytesDesc, gauge, float64(s.QueueBytes))
	ch <- prometheus.MustNewConstMetric(writtenDesc, counter, float64(s.Written))
	ch <- prometheus.MustNewConstMetric(writtenBytesDesc, counter, float64(s.WrittenBytes))
	ch <- prometheus.MustNewConstMetric(droppedDesc, counter, float64(s.Dropped))
}

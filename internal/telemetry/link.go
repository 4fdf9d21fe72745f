package telemetry

import "github.com/prometheus/client_golang/prometheus"

// LinkStats is a captured command's link at a scrape.
type LinkStats struct {
	Directions map[string]LinkCounters // by "down" and "up"
	Steps      map[string]float64      // how much of each of the timeline's is in force, in [0, 1]
}

// LinkCounters are those of one direction.
type LinkCounters struct {
	SentBytes, SentPackets, DroppedPackets uint64
	BacklogBytes, BacklogPackets           uint64
}

// linkCollector looks at the link once a scrape.
type linkCollector struct{ stats func() (LinkStats, bool) }

var (
	linkSentBytesDesc      = linkDesc("sent_bytes_total", "Bytes that a captured command's link let through.", "direction")
	linkSentPacketsDesc    = linkDesc("sent_packets_total", "Packets that it let through.", "direction")
	linkDroppedDesc        = linkDesc("dropped_packets_total", "Packets that it lost, on purpose or because its queue was full.", "direction")
	linkBacklogBytesDesc   = linkDesc("backlog_bytes", "Bytes that it holds, queued and delayed.", "direction")
	linkBacklogPacketsDesc = linkDesc("backlog_packets", "Packets that it holds, queued and delayed.", "direction")
	linkStepDesc           = linkDesc("step_weight", "How much of a step of its timeline is in force, from 0 to 1.", "step")
)

func linkDesc(name, help, label string) *prometheus.Desc {
	return prometheus.NewDesc("understudy_link_"+name, help, []string{label}, nil)
}

// Describe names the link's metrics.
func (c linkCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{linkSentBytesDesc, linkSentPacketsDesc, linkDroppedDesc, linkBacklogBytesDesc, linkBacklogPacketsDesc, linkStepDesc} {
		ch <- d
	}
}

// Collect takes one look at the link.
func (c linkCollector) Collect(ch chan<- prometheus.Metric) {
	s, ok := c.stats()
	if !ok {
		return
	}
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	for direction, n := range s.Directions {
		ch <- prometheus.MustNewConstMetric(linkSentBytesDesc, counter, float64(n.SentBytes), direction)
		ch <- prometheus.MustNewConstMetric(linkSentPacketsDesc, counter, float64(n.SentPackets), direction)
		ch <- prometheus.MustNewConstMetric(linkDroppedDesc, counter, float64(n.DroppedPackets), direction)
		ch <- prometheus.MustNewConstMetric(linkBacklogBytesDesc, gauge, float64(n.BacklogBytes), direction)
		ch <- prometheus.MustNewConstMetric(linkBacklogPacketsDesc, gauge, float64(n.BacklogPackets), direction)
	}
	for step, weight := range s.Steps { // at most 100: the timeline's own bound
		ch <- prometheus.MustNewConstMetric(linkStepDesc, gauge, weight, valid(step))
	}
}

package telemetry

import "github.com/prometheus/client_golang/prometheus"

// LinkStats is a captured command's link at a scrape.
type LinkStats struct {
	Directions map[LinkPart]LinkCounters
	Moved      map[string]uint64  // by class, how often a rule put a connection into it
	Steps      map[string]float64 // how much of each of the timeline's is in force, in [0, 1]
}

// LinkPart is a direction of a class of the link, or of the link itself.
type LinkPart struct {
	Class     string // "" for what belongs to no class
	Direction string // "down" or "up"
}

// LinkCounters are those of one direction.
type LinkCounters struct {
	SentBytes, SentPackets, DroppedPackets uint64
	BacklogBytes, BacklogPackets           uint64
}

// linkCollector looks at the link once a scrape.
type linkCollector struct{ stats func() (LinkStats, bool) }

var (
	linkSentBytesDesc      = linkDesc("sent_bytes_total", "Bytes that a captured command's link let through, by class; \"\" is what belongs to none.", "class", "direction")
	linkSentPacketsDesc    = linkDesc("sent_packets_total", "Packets that it let through.", "class", "direction")
	linkDroppedDesc        = linkDesc("dropped_packets_total", "Packets that it lost, on purpose or because its queue was full.", "class", "direction")
	linkBacklogBytesDesc   = linkDesc("backlog_bytes", "Bytes that it holds, queued and delayed.", "class", "direction")
	linkBacklogPacketsDesc = linkDesc("backlog_packets", "Packets that it holds, queued and delayed.", "class", "direction")
	linkMovedDesc          = linkDesc("class_moved_connections_total", "How often a rule put a connection into a class.", "class")
	linkStepDesc           = linkDesc("step_weight", "How much of a step of its timeline is in force, from 0 to 1.", "step")
)

func linkDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("understudy_link_"+name, help, labels, nil)
}

// Describe names the link's metrics.
func (c linkCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{linkSentBytesDesc, linkSentPacketsDesc, linkDroppedDesc, linkBacklogBytesDesc, linkBacklogPacketsDesc, linkMovedDesc, linkStepDesc} {
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
	for part, n := range s.Directions { // at most 65 classes: the configuration's own bound
		class, direction := valid(part.Class), part.Direction
		ch <- prometheus.MustNewConstMetric(linkSentBytesDesc, counter, float64(n.SentBytes), class, direction)
		ch <- prometheus.MustNewConstMetric(linkSentPacketsDesc, counter, float64(n.SentPackets), class, direction)
		ch <- prometheus.MustNewConstMetric(linkDroppedDesc, counter, float64(n.DroppedPackets), class, direction)
		ch <- prometheus.MustNewConstMetric(linkBacklogBytesDesc, gauge, float64(n.BacklogBytes), class, direction)
		ch <- prometheus.MustNewConstMetric(linkBacklogPacketsDesc, gauge, float64(n.BacklogPackets), class, direction)
	}
	for class, n := range s.Moved {
		ch <- prometheus.MustNewConstMetric(linkMovedDesc, counter, float64(n), valid(class))
	}
	for step, weight := range s.Steps { // at most 100: the timeline's own bound
		ch <- prometheus.MustNewConstMetric(linkStepDesc, gauge, weight, valid(step))
	}
}

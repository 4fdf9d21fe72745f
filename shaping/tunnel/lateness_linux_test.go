package tunnel_test

import (
	"os"
	"testing"
	"time"
)

// BenchmarkLateness tells by how much packets come later than asked, each direction on its
// own and by the kernel's stamps: what a client adds by waking up is not the link's.
func BenchmarkLateness(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root to make devices")
	}
	for _, engine := range []string{"tun", "between"} {
		for _, how := range []string{"", "delay=10ms"} {
			b.Run(engine+"/"+how, func(b *testing.B) {
				w := newWay(b, engine)
				c := spec(b, how)
				w.change(c)
				const asked = 10 * time.Millisecond
				got := delays(send(b, []*way{w}, load{count: b.N, size: 64, pause: 2 * time.Millisecond})[0])
				least := time.Duration(0)
				if how != "" {
					least = asked
				}
				for name, p := range map[string]float64{"p1": .01, "p50": .5, "p90": .9, "p99": .99, "p99.9": .999} {
					b.ReportMetric(float64((quantile(got, p) - least).Microseconds()), name+"-µs")
				}
			})
		}
	}
}

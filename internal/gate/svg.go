package gate

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"
)

// drawCurve draws both sides' latency by percentile: the percentiles are spread
// by how rare they are, the latencies are logarithmic.
func drawCurve(c *Curve) template.HTML {
	const width, height, left, right, top, bottom = 720.0, 220.0, 64.0, 16.0, 10.0, 26.0
	low, high := math.Inf(1), 0.0
	for _, d := range slices.Concat(c.Against, c.Proxied) {
		v := max(float64(d), 1)
		low, high = min(low, v), max(high, v)
	}
	if len(c.Against) != len(c.At) || len(c.Proxied) != len(c.At) || high == 0 {
		return ""
	}
	low, high = math.Log(low*0.9), math.Log(high*1.1)
	rare := func(p float64) float64 { return -math.Log10(1 - min(p, 0.999)) } // 0 to 3
	x := func(p float64) float64 { return left + rare(p)/3*(width-left-right) }
	y := func(ns float64) float64 {
		return height - bottom - (math.Log(max(ns, 1))-low)/(high-low)*(height-top-bottom)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="latency by percentile">`, width, height)
	for _, p := range []float64{0, .5, .9, .99, .999} {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/><text x="%.1f" y="%g" text-anchor="middle">p%g</text>`,
			x(p), x(p), top, height-bottom, x(p), height-8, 100*p)
	}
	for _, ns := range ticks(math.Exp(low), math.Exp(high)) {
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text x="%g" y="%.1f" text-anchor="end">%s</text>`,
			left, width-right, y(ns), y(ns), left-6, y(ns)+4, time.Duration(ns))
	}
	for _, side := range []struct {
		class string
		at    []time.Duration
	}{{"base", c.Against}, {"with", c.Proxied}} {
		points := make([]string, len(c.At))
		for i, p := range c.At {
			points[i] = fmt.Sprintf("%.1f,%.1f", x(p), y(float64(side.at[i])))
		}
		fmt.Fprintf(&b, `<polyline class="%s" points="%s"/>`, side.class, strings.Join(points, " "))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers and our own words only
}

// ticks are the round values (1, 2, 5 and their tens) between low and high.
func ticks(low, high float64) []float64 {
	var found []float64
	for ten := math.Pow(10, math.Floor(math.Log10(low))); ten <= high && len(found) < 30; ten *= 10 {
		for _, n := range []float64{1, 2, 5} {
			if v := n * ten; v >= low && v <= high {
				found = append(found, v)
			}
		}
	}
	return found
}

// drawStrip draws a metric's pairs as dots, its interval as a bar with the
// median on it, and its limit as a line.
func drawStrip(m Metric) template.HTML {
	if !m.Measured || len(m.Pairs) == 0 {
		return ""
	}
	const width, height = 200.0, 18.0
	all := append(slices.Clone(m.Pairs), m.Low, m.High)
	if m.Limit != nil {
		all = append(all, *m.Limit)
	}
	low, high := slices.Min(all), slices.Max(all)
	x := func(v float64) float64 {
		if high == low {
			return width / 2
		}
		return 4 + (v-low)/(high-low)*(width-8)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg width="%g" height="%g" viewBox="0 0 %g %g" role="img" aria-label="%d pairs">`, width, height, width, height, len(m.Pairs))
	fmt.Fprintf(&b, `<line class="grid" x1="0" x2="%g" y1="9" y2="9"/>`, width)
	for _, v := range m.Pairs {
		fmt.Fprintf(&b, `<circle class="dot" cx="%.1f" cy="9" r="2.5"/>`, x(v))
	}
	fmt.Fprintf(&b, `<line class="span" x1="%.1f" x2="%.1f" y1="14" y2="14"/><circle class="mid" cx="%.1f" cy="14" r="2.8"/>`, x(m.Low), x(m.High), x(m.Estimate))
	if m.Limit != nil {
		fmt.Fprintf(&b, `<line class="limit" x1="%.1f" x2="%.1f" y1="1" y2="17"/>`, x(*m.Limit), x(*m.Limit))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers and our own words only
}

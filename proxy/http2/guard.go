package http2

import "time"

// A client may do cheap things that cost us: open and reset streams (the "rapid
// reset" of CVE-2023-44487), send empty frames, pings, settings. Each kind draws
// on a bucket that time refills; an empty one ends the connection with
// ENHANCE_YOUR_CALM. The sizes let through any client that has work in mind.
const (
	resetBurst, resetPerSecond = 1000, 500
	smallBurst, smallPerSecond = 10_000, 5_000
)

// bucket is a token bucket. The zero value is full at the first take.
type bucket struct {
	tokens float64
	at     time.Time
}

// take draws one token and reports whether there was one.
func (b *bucket) take(now time.Time, burst, perSecond float64) bool {
	if b.at.IsZero() {
		b.tokens = burst
	} else {
		b.tokens = min(burst, b.tokens+perSecond*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

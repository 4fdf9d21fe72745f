package ratelimit

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Limit is how many requests are accepted: a token bucket where Window is 0, else a fixed
// window.
type Limit struct {
	Rate  float64 // tokens a second; each request that is accepted takes one
	Burst float64 // tokens that the bucket holds, and has at the start; 1 or more

	Requests int           // accepted in each window
	Window   time.Duration // begins with the first request after the one before has ended
}

// Bounds on a Limit: beyond them moments in nanoseconds would not tell tokens apart, or
// would overflow.
const (
	MinRate, MaxRate = 1e-6, 1e6
	MaxBurst         = 1e9
	MaxWindow        = 366 * 24 * time.Hour
	longest          = time.Duration(1) << 61 // ns that a bucket takes to fill, or that a run lasts
)

// Check returns which field of l is not as it must be, and why; "" where all is well.
func (l Limit) Check() (field, why string) {
	switch {
	case l.Window != 0 && (l.Rate != 0 || l.Burst != 0):
		return "window", "want either rate and burst, or requests and window"
	case l.Window != 0 || l.Requests != 0:
		switch {
		case l.Requests < 1:
			return "requests", fmt.Sprintf("want 1 or more, got %d", l.Requests)
		case l.Window < time.Millisecond || l.Window > MaxWindow:
			return "window", fmt.Sprintf("want 1ms to %v, got %v", MaxWindow, l.Window)
		}
		return "", ""
	case !(l.Rate >= MinRate && l.Rate <= MaxRate):
		return "rate", fmt.Sprintf("want %g to %g a second, got %v", MinRate, MaxRate, l.Rate)
	case !(l.Burst >= 1 && l.Burst <= MaxBurst):
		return "burst", fmt.Sprintf("want 1 to %g, got %v", MaxBurst, l.Burst)
	case l.Burst/l.Rate > longest.Seconds():
		return "burst", "the bucket would take longer than 70 years to fill"
	}
	return "", ""
}

// Capacity is how many requests are accepted a second, for long.
func (l Limit) Capacity() float64 {
	if l.Window > 0 {
		return float64(l.Requests) / l.Window.Seconds()
	}
	return l.Rate
}

// String is for people: "50 a second, bursts of 20", "100 in each 1m0s".
func (l Limit) String() string {
	if l.Window > 0 {
		return fmt.Sprintf("%d in each %v", l.Requests, l.Window)
	}
	return fmt.Sprintf("%.4g a second, bursts of %.4g", l.Rate, l.Burst)
}

// Live keeps a limit. It is safe for use by several goroutines. For moments that do not go
// back it never accepts more than Burst + Rate × w requests in any window w, ends included,
// or more than Requests in each of its windows.
type Live struct {
	// A bucket by the generic cell rate algorithm: full is when it will be full again if
	// nothing comes, and a token is there while that is no more than slack ahead.
	// Source: ITU-T I.371, annex A.
	full        atomic.Int64 // ns
	each, slack int64        // ns for a token; for burst - 1 of them

	requests int
	window   time.Duration
	mu       sync.Mutex
	ends     time.Duration // of the window
	taken    int           // in it
}

// never is before any moment that Accept is told of.
const never = math.MinInt64 / 2

// NewLive returns l with all its tokens. l must pass Check.
func NewLive(l Limit) *Live {
	v := &Live{requests: l.Requests, window: l.Window}
	if l.Window == 0 {
		// Up, so that no window ever holds more than it may.
		each := math.Ceil(1e9 / l.Rate)
		v.each, v.slack = int64(each), int64((l.Burst-1)*each)
	}
	v.Reset()
	return v
}

// Accept reports whether a request that comes at a moment is accepted, and takes what it
// needs if so. The moment counts from any start, within 36 years of it.
func (v *Live) Accept(at time.Duration) bool {
	if v.window > 0 {
		return v.count(at)
	}
	for {
		full := v.full.Load()
		next := max(full, int64(at))
		if next-int64(at) > v.slack {
			return false
		}
		if v.full.CompareAndSwap(full, next+v.each) {
			return true
		}
	}
}

func (v *Live) count(at time.Duration) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if at >= v.ends {
		v.ends, v.taken = at+v.window, 0
	}
	if v.taken >= v.requests {
		return false
	}
	v.taken++
	return true
}

// Reset gives v all its tokens.
func (v *Live) Reset() {
	v.full.Store(never)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ends, v.taken = never, 0
}

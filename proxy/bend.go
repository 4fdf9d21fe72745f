package proxy

import (
	"math"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// bend slows and breaks a body as a plan says.
type bend struct {
	fault *fixtures.Fault // a fault of the body; nil for none
	rate  float64         // bytes per second; 0 for no limit
	drip  *fixtures.Drip

	limit int64 // bytes let through; -1 for all
	share float64
	cut   bool // the limit is reached: break now

	sent  int64     // bytes handed out
	begin time.Time // of the body: deadlines count from here
}

// pieceTime is the beat at which a throttled body is handed out.
const pieceTime = 10 * time.Millisecond

func newBend(plan *fixtures.Plan, length int64) *bend {
	b := &bend{rate: plan.BytesPerSecond, drip: plan.Drip, limit: -1}
	f := plan.Fault
	if f == nil {
		return b
	}
	switch {
	case f.Kind == fixtures.FaultTruncate, f.Kind == fixtures.FaultReset && f.Where == fixtures.WhereMidBody:
		b.fault = f
		share := f.AfterShare
		if f.Kind == fixtures.FaultReset {
			share = 0.5
		}
		switch {
		case f.AfterBytes > 0:
			b.limit = f.AfterBytes
		case length >= 0:
			b.limit = int64(share * float64(length))
		default:
			b.share = share // of the first part: the whole is not known
		}
	case f.Kind == fixtures.FaultCorrupt:
		b.fault = f
	}
	return b
}

// idle reports whether parts go out as they are.
func (b *bend) idle() bool { return b.fault == nil && b.rate == 0 && b.drip == nil }

// breaks reports whether the body will be cut.
func (b *bend) breaks() bool { return b.fault != nil && b.fault.Kind != fixtures.FaultCorrupt }

// take cuts the next piece off part and says when it is due; the zero time for
// at once. It sets cut once nothing more may pass.
func (b *bend) take(part *[]byte) ([]byte, time.Time) {
	if b.begin.IsZero() {
		b.begin = time.Now()
	}
	n := len(*part)
	if b.breaks() {
		if b.limit < 0 {
			b.limit = int64(b.share * float64(n))
		}
		n = int(min(int64(n), b.limit-b.sent))
	}
	var due time.Time
	switch {
	case b.drip != nil:
		due = b.begin.Add(time.Duration(b.sent/int64(b.drip.Bytes)) * b.drip.Every)
		n = min(n, b.drip.Bytes-int(b.sent%int64(b.drip.Bytes)))
	case b.rate > 0:
		due = b.begin.Add(secondsFor(b.sent, b.rate))
		n = min(n, max(1, int(b.rate*pieceTime.Seconds())))
	}
	piece := (*part)[:n]
	*part = (*part)[n:]
	b.sent += int64(n)
	b.cut = b.breaks() && b.sent >= b.limit
	return piece, due
}

// secondsFor is how long n bytes take at rate, saturating at the longest duration.
func secondsFor(n int64, rate float64) time.Duration {
	ns := float64(n) / rate * float64(time.Second)
	if ns >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(ns)
}

// corrupted returns piece with one bit flipped in the bytes that the fault
// chose: by their place in the body, so that the same seed breaks the same bytes
// however they are cut into pieces. It copies what it changes.
func (b *bend) corrupted(piece []byte) []byte {
	if b.fault == nil || b.fault.Kind != fixtures.FaultCorrupt {
		return piece
	}
	out := make([]byte, len(piece))
	copy(out, piece)
	at := uint64(b.sent) - uint64(len(piece))
	for i := range out {
		draw := timing.Mix(b.fault.Seed, at+uint64(i))
		if timing.Unit(draw) < b.fault.Share {
			out[i] ^= 1 << (draw & 7)
		}
	}
	return out
}

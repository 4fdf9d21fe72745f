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

	sent int64 // bytes handed out
	// Deadlines count from an anchor, so that late timers do not add up.
	anchor time.Time // when the byte number from was due to begin
	from   int64
}

// pieceTime is the beat at which a throttled body is handed out, and how far
// it may run behind before it is taken for one that had nothing to send: time
// in which nothing was there to send cannot be caught up.
const pieceTime = 10 * time.Millisecond

func newBend(plan *fixtures.Plan, length int64) bend {
	b := bend{rate: plan.BytesPerSecond, drip: plan.Drip, limit: -1}
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

// begin readies b for a part that is there now.
func (b *bend) begin() {
	now := time.Now()
	if b.anchor.IsZero() || now.Sub(b.due(b.sent)) > max(pieceTime, b.beat()) {
		b.anchor, b.from = now, b.sent
	}
}

func (b *bend) beat() time.Duration {
	if b.drip == nil {
		return 0
	}
	return b.drip.Every
}

// due is when byte number n, counted from 0, may begin.
func (b *bend) due(n int64) time.Time {
	after := time.Duration(0)
	if b.drip != nil {
		every := time.Duration((n - b.from) / int64(max(b.drip.Bytes, 1)))
		if b.drip.Every > 0 && every > math.MaxInt64/b.drip.Every {
			every = math.MaxInt64 / b.drip.Every
		}
		after = every * b.drip.Every
	}
	if b.rate > 0 {
		after = max(after, secondsFor(n-b.from, b.rate))
	}
	return b.anchor.Add(after)
}

// take cuts the next piece off part and says when it is due. A throttled piece
// is due when its last byte would be through, one that drips when its first is.
// It sets cut once nothing more may pass.
func (b *bend) take(part *[]byte) ([]byte, time.Time) {
	n := int64(len(*part))
	if b.breaks() {
		if b.limit < 0 {
			b.limit = int64(b.share * float64(n))
		}
		n = min(n, b.limit-b.sent)
	}
	due := b.anchor
	if b.drip != nil {
		beat := int64(max(b.drip.Bytes, 1))
		n = min(n, beat-(b.sent-b.from)%beat)
		due = b.due(b.sent)
	}
	if b.rate > 0 {
		n = min(n, max(1, int64(b.rate*pieceTime.Seconds())))
		if through := b.anchor.Add(secondsFor(b.sent+n-b.from, b.rate)); through.After(due) {
			due = through
		}
	}
	piece := (*part)[:n]
	*part = (*part)[n:]
	b.sent += n
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
// chose, and whether there were any: by their place in the body, so that the
// same seed breaks the same bytes however they are cut into pieces. It copies
// what it changes.
func (b *bend) corrupted(piece []byte) (out []byte, changed bool) {
	if b.fault == nil || b.fault.Kind != fixtures.FaultCorrupt {
		return piece, false
	}
	at := uint64(b.sent) - uint64(len(piece))
	out = piece
	for i := range piece {
		draw := timing.Mix(b.fault.Seed, at+uint64(i))
		if timing.Unit(draw) >= b.fault.Share {
			continue
		}
		if !changed {
			out, changed = append([]byte(nil), piece...), true
		}
		out[i] ^= 1 << (draw & 7)
	}
	return out, changed
}

package emulator

import (
	"math"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/shaping"
)

// slots are the moments at which packets may leave in bursts. They come whether packets
// wait or not, as a radio's grants do.
type slots struct {
	s     shaping.Slot
	on    bool
	table []int16
	seed  uint64
	n     uint64

	at      time.Duration
	packets int32 // room that is left
	bytes   int64
}

func (s *slots) change(now time.Duration, slot shaping.Slot, seed uint64) {
	*s = slots{s: slot, on: slot.MaxDelay > 0 || slot.DistJitter > 0, seed: timing.MixString(seed, "slot"), at: now}
	if slot.Distribution != nil {
		s.table = sorted(slot.Distribution)
	}
	if s.on {
		s.open()
	}
}

// open goes on to the next slot.
func (s *slots) open() {
	u := timing.Unit(timing.Mix(s.seed, s.n))
	s.n++
	pause := s.s.MinDelay + time.Duration(u*float64(s.s.MaxDelay-s.s.MinDelay))
	if s.s.DistJitter > 0 {
		pause = s.s.DistDelay + of(s.table, s.s.DistJitter, u)
	}
	s.at += max(pause, time.Microsecond)
	s.packets, s.bytes = math.MaxInt32, math.MaxInt64
	if s.s.Packets > 0 {
		s.packets = s.s.Packets
	}
	if s.s.Bytes > 0 {
		s.bytes = int64(s.s.Bytes)
	}
}

// skipped is how far behind slots may be before those between are left out.
const skipped = 1000

// next is when a packet that could leave at a moment does.
func (s *slots) next(at time.Duration, size int) time.Duration {
	if !s.on {
		return at
	}
	mean := max(s.s.DistDelay, s.s.MaxDelay, time.Millisecond)
	if behind := at - s.at; behind > skipped*mean {
		s.at = at - mean
	}
	for s.at < at || s.packets <= 0 || s.bytes <= 0 {
		s.open()
	}
	s.packets--
	s.bytes -= int64(size)
	return s.at
}

// trace plays opportunities back as mahimahi does: each takes so many bytes of what
// waits, of several packets or of a part of one, and is lost where nothing does.
type trace struct {
	t     *shaping.Trace
	round int64 // of the opportunity in use
	index int
	left  int // bytes of it
}

func (t *trace) change(to *shaping.Trace) { *t = trace{t: to, index: -1} }

// take is when a packet that has come has left. Moments are the trace's own.
func (t *trace) take(now time.Duration, size int) time.Duration {
	if t.index < 0 || t.at() < now {
		t.seek(now)
	}
	bytes := size - ethernetHeader + shaping.TraceHeader
	for {
		if t.left == 0 {
			t.advance()
		}
		used := min(t.left, bytes)
		t.left -= used
		if bytes -= used; bytes <= 0 {
			return t.at()
		}
	}
}

// ethernetHeader is the bytes of a packet's size that are not its own, but its frame's.
const ethernetHeader = 14

func (t *trace) at() time.Duration {
	return time.Duration(t.round)*t.t.Length() + t.t.Opportunity(t.index)
}

func (t *trace) advance() {
	if t.index++; t.index == t.t.Len() {
		t.index = 0
		t.round++
	}
	t.left = shaping.TraceOpportunity
}

// seek finds the first opportunity that does not lie before now.
func (t *trace) seek(now time.Duration) {
	length := t.t.Length()
	t.round = int64(now / length)
	t.index = t.t.From(now % length)
	if t.index == t.t.Len() {
		t.index = 0
		t.round++
	}
	t.left = shaping.TraceOpportunity
}

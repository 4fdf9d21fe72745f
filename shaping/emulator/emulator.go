package emulator

import (
	"cmp"
	"math"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
)

// Emulator is one direction of a link: it holds packets, of which it knows their size and
// what the caller gave with them, until they are due. Moments are counted from the link's
// beginning and do not go back. It is not safe for concurrent use.
//
// Packets stay in order but for those that reorder lets go ahead.
type Emulator[T any] struct {
	c                    shaping.Conditions
	seed                 uint64
	chance               chances
	jitter               jitter
	slots                slots
	trace                trace
	began                time.Duration // from when on jitter is drawn
	traceFrom, delayFrom time.Duration // when the traces began

	put      uint64        // packets so far; each decision about one is drawn by its number
	unskew   uint32        // packets since the last that went ahead; netem's counter
	freeAt   time.Duration // when the last packet's last byte has left, at the rate
	lastDue  time.Duration // of the packets that stay in order
	ahead    fifo[T]       // those that skip the delay
	inOrder  fifo[T]
	counters shaping.Counters
}

// Due is a packet that has arrived.
type Due[T any] struct {
	Payload T
	Size    int
	At      time.Duration
	Mark    bool // congestion was experienced: its ECN bits are to say so
	// Damage is the bit to flip, of a packet of any length: the remainder by its bits is
	// meant. Damaged says that there is one.
	Damaged bool
	Damage  uint64
}

// New is a link's direction under conditions as shaping.Conditions.Resolve returns
// them. Its seed is that of the conditions, or seed where they have none.
func New[T any](c shaping.Conditions, seed uint64) *Emulator[T] {
	e := &Emulator[T]{}
	e.seed = ^cmp.Or(c.Seed, seed) // another: all is to be seeded
	e.Change(0, c, seed)
	return e
}

// Change puts other conditions in force for packets to come. Those that are held stay,
// with the moments that they have, and nothing overtakes them. Chances go on where they
// were: a change does not repeat what was drawn before. So do traces that stay.
func (e *Emulator[T]) Change(now time.Duration, c shaping.Conditions, seed uint64) {
	if c.Seed != 0 {
		seed = c.Seed
	}
	if c.GilbertElliott != e.c.GilbertElliott || c.FourState != e.c.FourState {
		e.chance.forget()
	}
	if c.Trace != e.c.Trace {
		e.traceFrom = now
		e.trace.change(c.Trace)
	}
	if c.DelayTrace != e.c.DelayTrace {
		e.delayFrom = now
	}
	if c.Slot != e.c.Slot || seed != e.seed {
		e.slots.change(now, c.Slot, seed)
	}
	if seed != e.seed {
		e.chance.seed(seed)
	}
	e.jitter.change(c, seed)
	e.c, e.seed = c, seed
}

// Restart begins anew at a moment: chances, jitter, slots, traces and counters are those
// of a new link of the same conditions. Packets that are held stay, and are counted as
// held.
func (e *Emulator[T]) Restart(now time.Duration) {
	held := e.counters
	fresh := Emulator[T]{began: now, ahead: e.ahead, inOrder: e.inOrder, freeAt: e.freeAt, lastDue: e.lastDue, seed: ^e.seed}
	fresh.counters.BacklogPackets, fresh.counters.BacklogBytes = held.BacklogPackets, held.BacklogBytes
	fresh.Change(now, e.c, e.seed)
	fresh.traceFrom, fresh.delayFrom = now, now
	*e = fresh
}

// Idle reports whether packets pass as they are: nothing is asked and none is held. Who
// sees that may pass them himself and tell of it with Passed.
func (e *Emulator[T]) Idle() bool { return e.c.IsZero() && e.counters.BacklogPackets == 0 }

// Passed counts packets that passed by.
func (e *Emulator[T]) Passed(packets, bytes int) {
	e.put += uint64(packets)
	e.counters.SentPackets += uint64(packets)
	e.counters.SentBytes += uint64(bytes)
}

// Put gives a packet of so many bytes to the link; marks says that it supports ECN. It
// returns how many of it will arrive: 0 where it is lost, 2 where it is doubled.
func (e *Emulator[T]) Put(now time.Duration, size int, marks bool, payload T) (copies int) {
	n := e.put
	e.put++
	// netem's order: whether it is doubled, then whether one of them is lost.
	count := 1
	if e.chance.hits(duplicate, n, 0, e.c.Duplicate, e.c.DuplicateCorrelation) {
		count++
	}
	d := Due[T]{Payload: payload, Size: size}
	if e.chance.loses(&e.c, n, 0) {
		if e.c.ECN && marks {
			d.Mark = true
		} else {
			count--
		}
	}
	if count == 0 {
		e.counters.Dropped++
		return 0
	}
	if count == 2 && e.again(now, n, marks, d) {
		copies++
	}
	if e.queue(now, n, 0, d) {
		copies++
	}
	return copies
}

// again takes the second of a doubled packet through all but another doubling.
func (e *Emulator[T]) again(now time.Duration, n uint64, marks bool, d Due[T]) bool {
	d.Mark = false
	if e.chance.loses(&e.c, n, 1) {
		if !e.c.ECN || !marks {
			e.counters.Dropped++
			return false
		}
		d.Mark = true
	}
	return e.queue(now, n, 1, d)
}

// queue holds a packet until it is due; false where there is no room for it.
func (e *Emulator[T]) queue(now time.Duration, n, copied uint64, d Due[T]) bool {
	if e.chance.hits(corrupt, n, copied, e.c.Corrupt, e.c.CorruptCorrelation) {
		d.Damaged, d.Damage = true, e.chance.draw(bit, n, copied)
	}
	if e.c.Limit > 0 && e.counters.BacklogPackets >= uint64(e.c.Limit) {
		e.counters.Dropped++
		e.counters.Overlimits++
		return false
	}
	e.counters.BacklogPackets++
	e.counters.BacklogBytes += uint64(d.Size)
	if e.goesAhead(n, copied) {
		d.At = now
		e.ahead.push(d)
		return true
	}
	leaves := e.leaves(now, d.Size)
	d.At = max(leaves+e.delay(leaves), e.lastDue)
	d.At = e.slots.next(d.At, d.Size)
	e.lastDue = d.At
	e.inOrder.push(d)
	return true
}

// goesAhead reports whether a packet skips the delay, and the rate, as in netem: only
// each Gap-th may.
func (e *Emulator[T]) goesAhead(n, copied uint64) bool {
	if e.c.Reorder == 0 {
		return false
	}
	if e.unskew+1 >= max(e.c.Gap, 1) && e.chance.hits(reorder, n, copied, e.c.Reorder, e.c.ReorderCorrelation) {
		e.unskew = 0
		return true
	}
	e.unskew++
	return false
}

// leaves is when a packet's last byte has left, which waits for those before it.
func (e *Emulator[T]) leaves(now time.Duration, size int) time.Duration {
	switch {
	case e.c.Trace != nil:
		return e.traceFrom + e.trace.take(now-e.traceFrom, size)
	case e.c.Rate > 0:
		e.freeAt = max(e.freeAt, now) + e.took(size)
		return e.freeAt
	}
	return now
}

// took is how long a packet takes at the rate. Source: netem's packet_time_ns.
func (e *Emulator[T]) took(size int) time.Duration {
	bytes := max(int64(size)+int64(e.c.PacketOverhead), 0)
	if cell := int64(e.c.CellSize); cell > 0 {
		bytes = (bytes + cell - 1) / cell * max(cell+int64(e.c.CellOverhead), 0)
	}
	const whole = 8 * int64(time.Second)
	if bytes < math.MaxInt64/whole {
		return time.Duration(uint64(bytes*whole) / e.c.Rate)
	}
	return time.Duration(float64(bytes) * float64(whole) / float64(e.c.Rate))
}

// delay is the way's own, at a moment.
func (e *Emulator[T]) delay(at time.Duration) time.Duration {
	if t := e.c.DelayTrace; t != nil {
		return t.At(at - e.delayFrom)
	}
	if e.c.Jitter == 0 {
		return e.c.Delay
	}
	return max(e.c.Delay+e.jitter.at(at-e.began), 0)
}

// Next is when the next packet is due; false where none is held.
func (e *Emulator[T]) Next() (at time.Duration, ok bool) {
	if d := e.next().front(); d != nil {
		return d.At, true
	}
	return 0, false
}

func (e *Emulator[T]) next() *fifo[T] {
	a, o := e.ahead.front(), e.inOrder.front()
	if a != nil && (o == nil || a.At <= o.At) {
		return &e.ahead
	}
	return &e.inOrder
}

// Take returns the next packet if it is due by then.
func (e *Emulator[T]) Take(by time.Duration) (Due[T], bool) {
	q := e.next()
	d := q.front()
	if d == nil || d.At > by {
		return Due[T]{}, false
	}
	e.counters.BacklogPackets--
	e.counters.BacklogBytes -= uint64(d.Size)
	e.counters.SentPackets++
	e.counters.SentBytes += uint64(d.Size)
	return q.pop(), true
}

// Counters are what was counted since the beginning, and is held now.
func (e *Emulator[T]) Counters() shaping.Counters { return e.counters }

// Conditions are what is in force.
func (e *Emulator[T]) Conditions() shaping.Conditions { return e.c }

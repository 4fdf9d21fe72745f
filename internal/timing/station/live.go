package station

import (
	"math"
	"sync"
	"time"
)

const (
	// soon is how near a moment is that is not put off any more, ns: whoever waits for it
	// has things to make ready.
	soon = 2_500_000
	// notice is how long before a moment that may be put off is asked for again, ns. It is
	// less than soon, so that who is woken for it a little early need not ask once more.
	notice = 2_000_000
	// latest keeps sums of moments clear of overflow, ns: 73 years.
	latest = 1 << 61
	never  = math.MaxInt64
)

// Live is a station at work: requests enter it, and it tells when their answers are due,
// under the load that there is. It waits for nothing itself. It is safe for concurrent use.
//
// In a FIFO, who comes to the station first is served first; a server is busy until the
// answer has ended, at the recording's pace. It does the work also for a client that has
// left, as most servers do, but then there is no answer to send. That frees it for who comes
// later: those in line already keep what they were told.
//
// In PS each of n is served at the rate min(1, servers/n). Who is in the delay before the
// station is not one of the n; whose answer is under way is, until it has ended. A client
// that leaves is out at once. The method is that of virtual time: what every one of those
// who are served has got of it since the same moment is the same, so that they are done in
// the order of what it has to be then. Source: Parekh & Gallager, "A generalized processor
// sharing approach to flow control in integrated services networks", IEEE/ACM ToN 1993.
//
// At a station without a number of servers nobody waits for anybody.
type Live struct {
	station Station
	drawer  Drawer

	mu       sync.Mutex
	inFlight int
	base     time.Time // of the moments below, ns; the first request's
	now      int64     // all that was due until then has happened

	entries order[int64]
	free    order[int64] // as many as were ever needed at once
	served  order[float64]
	tails   order[int64]
	waiting order[float64] // of those in served
	virtual float64        // what each in served has got, ns, since there was nobody

	// For Load: when those in a FIFO's line are served, and how many turns were left when
	// their answer was due, and before.
	line       []int64
	done, gone uint64
}

// NewLive returns a station at which nobody is. Draw is called by one at a time.
func NewLive(s Station, d Drawer) *Live {
	l := &Live{station: s, drawer: d}
	l.entries.which, l.free.which, l.served.which, l.tails.which, l.waiting.which = byEntry, byFree, byFinish, byTail, byWaiting
	return l
}

// Turn is a request's stay at a station. Whoever has one must Leave it.
type Turn struct {
	live    *Live
	service int64
	tail    int64
	entry   int64         // when it comes to the station
	first   int64         // when the answer's first byte is due, once that is settled
	settled bool          // also where it is only so near that it shall not change any more
	again   int64         // when its holder asks again by itself
	sooner  chan struct{} // room for one; nil where nobody was told to ask again
	places  [orders]int32 // in Live's orders, counted from 1
	left    bool
}

// Enter is told of a request for an operation, which came at the moment at and whose answer
// has size bytes and, at the recording's pace, goes on for tail after its first byte. Demand
// and tail are divided by speed; a speed that is not above 0 makes all come at once.
// Moments need not be in order: PS serves who is told of late from then on.
func (l *Live) Enter(at time.Time, operation int, size int64, tail time.Duration, speed float64) *Turn {
	t := &Turn{live: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	delay, service := l.station.Split(min(max(l.drawer.Draw(operation, l.inFlight+1, size), 0), latest))
	l.inFlight++
	if l.base.IsZero() {
		l.base = at
	}
	t.service, t.tail = quickened(service, speed), quickened(tail, speed)
	t.entry = after(max(l.instant(at), 0), quickened(delay, speed))
	if l.station.Servers <= 0 || t.service == 0 { // who needs no service never gets there
		t.settle(after(t.entry, t.service))
		return t
	}
	l.entries.push(t.entry, t)
	l.advance(l.instant(at))
	l.call()
	return t
}

// InFlight returns how many turns were not left yet.
func (l *Live) InFlight() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight
}

// Due returns when the answer's first byte is due, as far as can be told now. Where again
// is zero that is settled: it will not change any more. Else it may be put off by who comes
// and come nearer by who leaves: the caller asks again at that moment, or once Sooner
// receives. It costs O(log n), and is to be asked a handful of times.
func (t *Turn) Due(now time.Time) (at, again time.Time) {
	l := t.live
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting.remove(t)
	l.advance(l.instant(now))
	select {
	case <-t.sooner: // it asks already
	default:
	}
	first, next := l.due(t)
	if next > 0 && t.sooner == nil {
		t.sooner = make(chan struct{}, 1)
	}
	if t.again = next; next > 0 && l.served.has(t) {
		l.waiting.push(l.served.list[t.places[byFinish]-1].key, t)
	}
	l.call()
	if next > 0 {
		again = l.base.Add(time.Duration(next))
	}
	return l.base.Add(time.Duration(first)), again
}

// Sooner receives where Due is to be asked at once, as what it said may be too late. It
// receives at most once before the next Due, and may without need. It must not be called
// before Due.
func (t *Turn) Sooner() <-chan struct{} { return t.sooner }

// Leave ends a stay at the given moment: the answer has ended, or the client has left.
// Only the first call counts.
func (t *Turn) Leave(at time.Time) {
	l := t.live
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.left {
		return
	}
	l.inFlight--
	if l.station.Servers > 0 {
		l.advance(l.instant(at)) // what was due before, its own with its tail, has happened
	}
	l.count(t, at)
	t.left, t.tail = true, 0
	if l.station.Discipline == FIFO {
		if free := max(l.now, t.first); l.free.has(t) && free < l.free.list[t.places[byFree]-1].key {
			l.free.remove(t)
			l.free.push(free, nil)
		}
		return // where it is still in its delay it comes to the station all the same
	}
	l.waiting.remove(t)
	l.entries.remove(t)
	if !t.settled || l.now < t.first { // else it is being answered, and what is left of its service is still to be done
		l.served.remove(t)
	}
	l.tails.remove(t)
	l.rest()
	l.call()
}

// instant is a moment in ns since the base.
func (l *Live) instant(at time.Time) int64 { return min(int64(at.Sub(l.base)), latest) }

// after is a moment d after another; neither is negative.
func after(at, d int64) int64 { return min(at+d, latest) }

// quickened is d at a speed, in [0, latest].
func quickened(d time.Duration, speed float64) int64 {
	if !(speed > 0) || d <= 0 {
		return 0
	}
	if q := float64(d) / speed; q < latest {
		return int64(q)
	}
	return latest
}

func (t *Turn) settle(first int64) {
	if !t.settled {
		t.first, t.settled = first, true
	}
}

// advance lets happen what was due until now.
func (l *Live) advance(now int64) {
	if l.station.Discipline == FIFO {
		for len(l.entries.list) > 0 && l.entries.first().key <= now {
			l.take(l.entries.pop().turn)
		}
		l.now = max(l.now, now)
		return
	}
	for {
		finish, end, entry := l.finish(), l.end(), int64(never)
		if len(l.entries.list) > 0 {
			entry = l.entries.first().key
		}
		next := max(min(finish, end, entry), l.now) // an entry may have come late
		if next > now || min(finish, end, entry) == never {
			break
		}
		l.pass(next)
		switch {
		case finish <= next:
			p := l.served.pop()
			if l.waiting.remove(p.turn) {
				p.turn.call() // its holder is late
			}
			l.virtual = p.key // what rounding made of it is not to add up
			p.turn.settle(l.now)
			if ends := after(p.turn.first, p.turn.tail); ends > l.now { // a tail of who has left is 0
				l.tails.push(ends, p.turn)
			}
		case end <= next:
			l.tails.pop()
		default:
			t := l.entries.pop().turn
			l.served.push(l.virtual+float64(t.service), t)
		}
		l.rest()
	}
	l.pass(now)
}

// take has a FIFO's server take t, who has come to the station.
func (l *Live) take(t *Turn) {
	start := t.entry
	idle := len(l.free.list) > 0 && l.free.first().key <= start
	if !idle && len(l.free.list) < l.station.Servers {
		t.settle(after(start, t.service))
		l.free.push(after(t.first, t.tail), t)
		return
	}
	start = max(start, l.free.first().key)
	l.queue(t.entry, start)
	t.settle(after(start, t.service))
	l.free.replace(after(t.first, t.tail), t)
}

// rate is how much longer a service takes in PS with so many there, at least 1, those in
// their tails not counted in served.
func (l *Live) rate(served int) float64 {
	return max(1, float64(served+len(l.tails.list))/float64(l.station.Servers))
}

// pass lets time go by, in which nobody comes or goes.
func (l *Live) pass(now int64) {
	if now <= l.now {
		return
	}
	if n := len(l.served.list); n > 0 {
		l.virtual += float64(now-l.now) / l.rate(n)
	}
	l.now = now
}

// rest starts virtual time anew where nobody is served: large numbers are less exact.
func (l *Live) rest() {
	if len(l.served.list) == 0 {
		l.virtual = 0
	}
}

// doneBy is when who needs virtual time to be done is, where all stays as it is but its
// length by others there.
func (l *Live) doneBy(virtual, rate float64) int64 {
	if left := math.Ceil(max(virtual-l.virtual, 0) * rate); left < latest {
		return after(l.now, int64(left))
	}
	return latest
}

// finish and end are when the next is done, and the next tail over, as things are; never
// where there is none.
func (l *Live) finish() int64 {
	if len(l.served.list) == 0 {
		return never
	}
	return l.doneBy(l.served.first().key, l.rate(len(l.served.list)))
}

func (l *Live) end() int64 {
	if len(l.tails.list) == 0 {
		return never
	}
	return l.tails.first().key
}

// due returns when t is due, as things are, and when that is to be asked again at the
// latest; 0 where it is settled.
func (l *Live) due(t *Turn) (first, again int64) {
	switch {
	case t.settled:
		return t.first, 0
	case l.served.has(t):
		key := l.served.list[t.places[byFinish]-1].key
		first = l.doneBy(key, l.rate(len(l.served.list)))
		if first-l.now <= soon {
			t.settle(first)
			return first, 0
		}
		low, event := l.unnoticed(key, t)
		again = max(low-max(notice, (low-l.now)/4), event)
		return first, max(min(again, first-max(notice, (first-l.now)/4)), l.now+1)
	case !l.entries.has(t): // it has left
		return l.now, 0
	}
	return l.dueBefore(t)
}

// dueBefore is due for who is in the delay before the station. It is done no earlier than
// if it were alone there.
func (l *Live) dueBefore(t *Turn) (first, again int64) {
	entry := max(t.entry, l.now)
	if l.station.Discipline == FIFO {
		start := entry
		if len(l.free.list) >= l.station.Servers {
			start = max(start, l.free.first().key)
		}
		first = after(start, t.service)
	} else {
		first = after(l.doneBy(l.virtual+float64(t.service), l.rate(len(l.served.list)+1)), entry-l.now)
	}
	if first-l.now <= soon && l.entries.first().turn == t {
		t.settle(first)
		return first, 0
	}
	if again = after(entry, t.service) - notice; again <= l.now {
		again = after(entry, min(t.service/2, notice/2))
	}
	return first, max(again, l.now+1)
}

// unnoticed tells of what may bring who is done at a virtual time nearer without a call of
// Live's: that others are done, or their tails over, whose holders were not told to ask
// again. Were all of them gone now, it would be due at low; the next goes at event.
func (l *Live) unnoticed(virtual float64, t *Turn) (low, event int64) {
	event = l.end()
	if next := l.served.first().turn; next != t && !l.waiting.has(next) {
		event = min(event, l.finish())
	}
	served := len(l.served.list)
	if event == never { // those after it do not count: they are done after it
		return l.doneBy(virtual, l.rate(served)), 0
	}
	served = len(l.waiting.list)
	if !l.waiting.has(t) {
		served++
	}
	return l.doneBy(virtual, max(1, float64(served)/float64(l.station.Servers))), event
}

// call calls those who have to ask again earlier than they were told: all who are due soon,
// and who comes after them where somebody's leaving has brought it nearer. Others need not
// know: they come after that one.
func (l *Live) call() {
	for len(l.waiting.list) > 0 {
		p := l.waiting.first()
		if first := l.doneBy(p.key, l.rate(len(l.served.list))); first-l.now > soon {
			low, event := l.unnoticed(p.key, p.turn)
			if p.turn.again > max(min(first-notice, max(low-notice, event)), l.now) {
				p.turn.again = l.now
				p.turn.call()
			}
			return
		}
		l.waiting.pop()
		p.turn.call()
	}
}

func (t *Turn) call() {
	select {
	case t.sooner <- struct{}{}:
	default:
	}
}

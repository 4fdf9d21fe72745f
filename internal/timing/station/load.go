package station

import "time"

// Load is what goes on at a station at one moment. Who is in flight and neither served nor
// waiting is in the delay before the station, or its answer is on its way.
type Load struct {
	InFlight int // turns that were not left yet
	// InService is how many servers of a FIFO are busy, also for clients that have left; in
	// PS, how many share them; without a number of servers, all that are in flight.
	InService int
	Waiting   int    // for a server of a FIFO, clients that have left among them
	Served    uint64 // turns that were left once their answer was due
	Left      uint64 // and before
}

// Load tells what goes on at the given moment.
func (l *Live) Load(at time.Time) Load {
	l.mu.Lock()
	defer l.mu.Unlock()
	load := Load{InFlight: l.inFlight, Served: l.done, Left: l.gone}
	switch now := l.instant(at); {
	case l.base.IsZero(): // nobody came yet
	case l.station.Servers <= 0:
		load.InService = l.inFlight
	case l.station.Discipline == FIFO:
		l.advance(now)
		for i := range l.free.list {
			if l.free.list[i].key > now {
				load.InService++
			}
		}
		for _, start := range l.line {
			if start > now {
				load.Waiting++
			}
		}
	default:
		l.advance(now)
		load.InService = len(l.served.list) + len(l.tails.list)
	}
	return load
}

// queue notes that a FIFO serves who comes at entry from start on.
func (l *Live) queue(entry, start int64) {
	for len(l.line) > 0 && l.line[0] <= entry {
		l.line = l.line[1:]
	}
	if start > entry {
		l.line = append(l.line, start)
	}
}

// count notes that t is left.
func (l *Live) count(t *Turn, at time.Time) {
	if t.settled && t.first <= l.instant(at) {
		l.done++
	} else {
		l.gone++
	}
}

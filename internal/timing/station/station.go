package station

import "time"

// Discipline is how a station's servers are shared out among those who have come.
type Discipline string

const (
	// FIFO: a server takes one request at a time, in order of arrival, as threads of a
	// pool or connections to a database do.
	FIFO Discipline = "fifo"
	// PS is processor sharing: all are served at once, each at the rate min(1, servers/n)
	// where n are there, as on a machine's processors.
	PS Discipline = "ps"
)

// Station says how a station serves.
type Station struct {
	Discipline Discipline
	// Servers is how many there are; 0 for as many as come, so that nobody waits for
	// anybody.
	Servers int
	// What a request demands is parted in a delay before the station, which nobody else
	// prolongs, and service in it: either the delay is at most Fixed, or, where Share
	// is not 0, service is this share of the demand, in (0, 1].
	Fixed time.Duration
	Share float64
}

// Split parts a demand in the delay before the station and the service in it. Where the
// service is 0 the visit never gets there: it takes no server and waits for none, as an
// answer from a cache does before a database.
func (s *Station) Split(demand time.Duration) (delay, service time.Duration) {
	if share := s.share(); share > 0 {
		service = time.Duration(share * float64(demand))
		return demand - service, service
	}
	delay = min(demand, s.fixed())
	return delay, demand - delay
}

// Visit is a request's stay, as it was recorded. Instants count from one moment for all
// visits.
type Visit struct {
	At    time.Duration // the request's last byte had come
	First time.Duration // the answer's first byte; its latency is First-At
	// End is the answer's last byte. Until then a server is kept busy: what an answer
	// takes beyond its first byte is no demand, but the answer's own rhythm.
	End       time.Duration
	Source    uint64 // the client's connection; 0 where that is not known
	Operation int    // what was asked for, counted from 0
	Size      int64  // bytes of the answer's body
}

// Drawer draws what requests demand.
type Drawer interface {
	// Draw returns the demand of the next request for an operation, whose answer has
	// size bytes, where inFlight requests are under way, itself included.
	Draw(operation, inFlight int, size int64) time.Duration
}

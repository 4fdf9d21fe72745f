package gate

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// How clients come and go: after so many requests, on average, a connection is
// closed and another one opened; and so seldom a client leaves in mid-answer, at a
// moment up to leaveWithin after it asked.
const (
	leaveEach   = 200
	giveUpEach  = 100
	leaveWithin = 4 * time.Millisecond
)

// tooLate is how far behind its schedule a connection may be before it leaves out
// what it missed: what hung is not made up for.
const tooLate = time.Second

// Counts are what became of a soak's requests.
type Counts struct {
	Answered    int64 `json:"answered"`    // with 2xx
	Refused     int64 `json:"refused"`     // with another status
	Broken      int64 `json:"broken"`      // by the other side, or not understood
	GivenUp     int64 `json:"given_up"`    // left in mid-answer on purpose
	Skipped     int64 `json:"skipped"`     // too late to be sent
	Connections int64 `json:"connections"` // opened
	NotOpened   int64 `json:"not_opened"`
	silent      int   // ways of which no request was answered
}

// add adds what c, which nobody writes any more, has counted.
func (c *Counts) add(l *wayCounts) {
	c.Answered += l.answered.Load()
	c.Refused += l.refused.Load()
	c.Broken += l.broken.Load()
	c.GivenUp += l.givenUp.Load()
	c.Skipped += l.skipped.Load()
	c.Connections += l.opened.Load()
	c.NotOpened += l.notOpened.Load()
	if l.answered.Load() == 0 {
		c.silent++
	}
}

type wayCounts struct {
	answered, refused, broken, givenUp, skipped, opened, notOpened atomic.Int64
}

// wayLoad loads one way.
type wayLoad struct {
	at          Endpoint
	connections int
	rate        float64    // requests per second over all connections
	counts      *wayCounts // of one load
}

// run loads until ctx ends, and returns once all its connections are closed.
func (w *wayLoad) run(ctx context.Context, seed uint64) {
	o := w.at.load(LoadOptions{})
	o.Header = append(o.Header[:len(o.Header):len(o.Header)], FaultField)
	d, err := newDialer(o)
	if err != nil { // calibration has dialled with the same
		w.counts.notOpened.Add(1)
		return
	}
	gap := time.Duration(float64(w.connections) / w.rate * float64(time.Second))
	start := time.Now()
	var wg sync.WaitGroup
	for i := range w.connections {
		s := &soaker{worker: worker{dial: d.dial, speak: d.speak, next: i * o.Spread / w.connections},
			counts: w.counts, random: rand.New(rand.NewPCG(seed, uint64(i)))}
		wg.Go(func() { // ends with ctx
			defer s.close()
			s.open(ctx, start.Add(gap*time.Duration(i)/time.Duration(w.connections)), gap)
		})
	}
	wg.Wait()
}

// soaker is one client: its connections follow one another.
type soaker struct {
	worker
	counts *wayCounts
	random *rand.Rand
}

// open sends a request each gap until ctx ends.
func (s *soaker) open(ctx context.Context, next time.Time, gap time.Duration) {
	turn := time.NewTimer(0)
	defer turn.Stop()
	for ; ; next = next.Add(gap) {
		if late := time.Since(next); late > tooLate {
			s.counts.skipped.Add(int64(late / gap))
			next = next.Add(late)
		}
		turn.Reset(time.Until(next))
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
		}
		s.ask(ctx)
	}
}

// ask sends one request, on a new connection where the last one is gone.
func (s *soaker) ask(ctx context.Context) {
	if s.c == nil {
		if s.connect(ctx); s.c == nil {
			if ctx.Err() == nil {
				s.counts.notOpened.Add(1)
			}
			return
		}
		s.counts.opened.Add(1)
	}
	var leaves *time.Timer
	if s.random.IntN(giveUpEach) == 0 {
		conn := s.conn
		leaves = time.AfterFunc(time.Duration(s.random.Int64N(int64(leaveWithin))), func() { conn.Close() })
	}
	keep, err := s.c.exchange(s.next)
	s.next++
	left := leaves != nil && !leaves.Stop()
	_, whole := errors.AsType[statusError](err)
	switch {
	case ctx.Err() != nil: // everybody leaves at the end
	case err == nil:
		s.counts.answered.Add(1)
	case whole:
		s.counts.refused.Add(1)
	case left:
		s.counts.givenUp.Add(1)
	default:
		s.counts.broken.Add(1)
	}
	if left || !keep || s.random.IntN(leaveEach) == 0 {
		s.close()
	}
}

package recorder

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"sync"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

// Recorder writes one cassette. Its methods may be called from many goroutines.
type Recorder struct {
	o        Options
	disk     disk
	red      *redact.Redactor // nil where nothing is redacted
	manifest *cassette.Manifest
	base     uint64 // added to IDs: the highest that was there already
	fresh    bool   // nothing was there, and nothing has been begun: mu's
	budget   budget
	library  library

	wake chan struct{} // holds one token while the queue is not empty
	full chan struct{} // holds one while the queue should not grow any more

	mu      sync.Mutex
	queue   []event
	waiting int // exchanges in the queue or being written
	open    int // tapes begun and not done
	closed  bool
	gone    bool // Discard's decision
	failure error
	lastID  uint64 // for exchanges that bring no ID
	counts  Stats
}

// Stats are a recorder's numbers at a moment.
type Stats struct {
	Recorded uint64            // exchanges in the cassette by this recorder
	Dropped  map[Reason]uint64 // lost, by reason
	Skipped  uint64            // not wanted by Options.Keep
	Open     int               // under way
	Waiting  int               // finished, not yet written
	Held     int64             // bytes in memory
}

// event is what the writer is told: a piece of a body, or (piece is nil) that
// the exchange is over.
type event struct {
	tape  *Tape
	side  int
	piece []byte
	// With a body's first piece: what is known of the exchange by then. The
	// bodies in it are those gathered so far, or none.
	request  *fixtures.Request
	response *fixtures.Response // nil with a request's body
}

// New opens dir for a recording: creates it, takes its lock and writes a manifest
// that says so. It refuses a directory that holds a cassette, unless
// Options.Append is set, and one that holds anything else. Run must be called,
// even with a context that has ended: it gives the lock back.
func New(dir string, o Options) (*Recorder, error) {
	o = o.withDefaults()
	d, m, base, err := openCassette(dir, &o)
	if err != nil {
		return nil, fmt.Errorf("record to %s: %w", dir, err)
	}
	r := newRecorder(d, m, o)
	r.base, r.fresh = base, len(d.made) > 0
	if len(m.Redaction.Salts) > 0 {
		r.red, err = redact.New(m.Redaction.Config, m.Redaction.Salts[0])
		if err != nil {
			_ = errors.Join(d.discard(), d.close())
			return nil, fmt.Errorf("record to %s: %w", dir, err)
		}
	}
	if err := d.manifest(m); err != nil {
		_ = errors.Join(d.discard(), d.close())
		return nil, fmt.Errorf("record to %s: %w", dir, err)
	}
	return r, nil
}

func newRecorder(d disk, m *cassette.Manifest, o Options) *Recorder {
	r := &Recorder{
		o: o, disk: d, manifest: m,
		budget: budget{limit: o.Budget},
		wake:   make(chan struct{}, 1),
		full:   make(chan struct{}, 1),
		counts: Stats{Dropped: map[Reason]uint64{}},
	}
	r.library = library{budget: &r.budget, limit: o.Budget / 8}
	return r
}

// Begin starts the recording of an exchange whose request's head is known; nil
// where it is not to be recorded. x is the caller's and grows: the tape reads
// its heads when a body turns out large. IDs in the cassette are x.ID, which
// must be unique in the run, or counted here where callers leave it 0.
func (r *Recorder) Begin(x *fixtures.Exchange) *Tape {
	if r == nil {
		return nil
	}
	keep := r.o.Keep == nil || r.o.Keep(x)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !keep {
		r.counts.Skipped++
		return nil
	}
	r.fresh = false
	if r.failure != nil {
		r.o.Ledger.taken()
		r.dropLocked(LostDisk)
		return nil
	}
	if r.closed {
		r.o.Ledger.taken()
		r.dropLocked(LostUnfinished)
		return nil
	}
	r.o.Ledger.taken()
	r.open++
	return &Tape{r: r, live: x, gathered: gatheredPool.Get().(*gathered)}
}

// Run owns the goroutine that writes. It returns when ctx has ended and
// everything handed over by then is on the disk; what is still under way then is
// counted as lost. Its error is what stopped the recording early, if anything did.
func (r *Recorder) Run(ctx context.Context) error {
	return (&writer{
		r: r, spooling: map[*Tape]bool{}, stored: map[string]bool{}, synced: make(chan error, 1),
		again: again{budget: &r.budget, seed: maphash.MakeSeed()},
	}).run(ctx)
}

// Discard has Run remove what New made, where no recording has been begun, nor any
// connection seen: a run that comes to nothing leaves no cassette. It reports whether it
// does; it does not where a cassette was there before. What is begun later is lost.
func (r *Recorder) Discard() bool {
	seen := r.o.Ledger.Snapshot().Connections.Opened > 0
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fresh || seen {
		return false
	}
	r.closed, r.gone = true, true
	return true
}

// Stats returns the numbers at this moment.
func (r *Recorder) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.counts
	s.Dropped = maps.Clone(s.Dropped)
	s.Open, s.Waiting, s.Held = r.open, r.waiting, r.budget.held.Load()
	return s
}

// push queues a piece of a body. Its bytes are within the budget, which
// bounds the queue.
func (r *Recorder) push(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.failure != nil {
		r.budget.give(int64(cap(e.piece)))
		freeChunk(e.piece)
		return
	}
	r.enqueueLocked(e)
}

// finish queues a tape that is done, or counts it as lost; n is its weight.
// The caller holds the tape's lock.
func (r *Recorder) finish(t *Tape, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed { // counted when the recording ended
		t.lose(LostUnfinished)
		return
	}
	r.open--
	if t.x.ID == 0 {
		r.lastID++
		t.x.ID = r.lastID
	}
	t.x.ID += r.base
	switch {
	case r.failure != nil:
		t.lose(LostDisk)
	case t.lost == "" && r.waiting >= r.o.Queue:
		t.lose(LostQueue)
	}
	if t.lost == "" {
		r.waiting++
		r.enqueueLocked(event{tape: t})
		return
	}
	r.dropLocked(t.lost)
	if r.failure != nil {
		return
	}
	if r.waiting < 2*r.o.Queue && r.budget.takeName(n) {
		t.held = n
	} else {
		t.nameless = true
	}
	if !t.nameless || t.sides[request].begun || t.sides[response].begun {
		r.waiting++
		r.enqueueLocked(event{tape: t})
	}
}

func (r *Recorder) enqueueLocked(e event) {
	r.queue = append(r.queue, e)
	select {
	case r.wake <- struct{}{}:
	default: // the writer has been told
	}
	const many = 512 // events; and a share of the budget
	if len(r.queue) >= many || r.budget.held.Load() > r.budget.limit/8 {
		select {
		case r.full <- struct{}{}:
		default:
		}
	}
}

// take swaps the queue for an empty one that reuses spare's memory.
func (r *Recorder) take(spare []event) []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	batch := r.queue
	r.queue = spare[:0]
	return batch
}

func (r *Recorder) dropLocked(why Reason) {
	r.counts.Dropped[why]++
	r.o.Ledger.lost(why)
}

// settled notes that n tapes left the queue, kept or counted before.
func (r *Recorder) settled(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting -= n
}

// kept notes n exchanges that are in the file.
func (r *Recorder) kept(n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Recorded += n
	r.o.Ledger.recorded(n)
}

// dropped notes n exchanges that were to be in the file.
func (r *Recorder) dropped(n uint64, why Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range n {
		r.dropLocked(why)
	}
}

// stop ends the recording at an error: nothing is taken in from now on.
func (r *Recorder) stop(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = err
}

func (r *Recorder) discarded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}

// shut ends the intake and counts what is still under way as lost.
func (r *Recorder) shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for range r.open {
		r.dropLocked(LostUnfinished)
	}
	r.open = 0
}

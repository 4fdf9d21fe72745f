package recorder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
)

// flushSize is how many bytes of lines are gathered before they are written even
// though more are waiting.
const flushSize = 256 << 10

// gatherFor is how long the writer lets exchanges gather after it took some: to
// be woken for each, and to write each by itself, costs more than all the rest.
// What is ended waits as long at most, unless a disk is slow.
const gatherFor = 5 * time.Millisecond

// manifestEvery is how often the manifest is brought up to date at most: only
// so that a recording which is killed still says how much it had dropped.
const manifestEvery = 5 * time.Second

// writer is the one goroutine that redacts, encodes and writes.
type writer struct {
	r        *Recorder
	spooling map[*Tape]bool  // tapes with an open body file
	stored   map[string]bool // body files that are there, by SHA-256

	buf     []byte // lines to be written
	inBuf   uint64 // of them, exchanges that are whole
	namesIn uint64 // of them, names of dropped ones
	done    int    // exchanges that left the queue, not told yet

	joined [2][]byte // bodies that came in several chunks; used again
	again  again

	dirtySince time.Time  // when the oldest unsynced line was encoded; zero for none
	syncing    bool       // a sync is under way, in a goroutine of its own
	synced     chan error // its result
	told       uint64     // drops that the manifest knows of
	toldAt     time.Time
	failed     error
	lossy      bool // OnLoss was told
}

func (w *writer) run(ctx context.Context) error {
	r := w.r
	w.toldAt = time.Now()
	timer, gather := time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	defer timer.Stop()
	defer gather.Stop()
	var took time.Time
	var batch []event
	for ended := false; !ended; {
		if w.dirtySince.IsZero() || w.syncing {
			timer.Stop()
		} else {
			timer.Reset(time.Until(w.dirtySince.Add(r.o.SyncEvery)))
		}
		select {
		case <-r.wake:
			if left := gatherFor - time.Since(took); left > 0 {
				gather.Reset(left)
				select {
				case <-gather.C:
				case <-r.full:
				case <-ctx.Done():
				}
			}
		case <-timer.C:
		case err := <-w.synced:
			w.syncEnded(err)
		case <-ctx.Done():
			r.shut()
			ended = true
		}
		batch = r.take(batch)
		if len(batch) > 0 {
			took = time.Now()
		}
		for i := range batch {
			w.handle(&batch[i])
			if i%settleEvery == settleEvery-1 {
				w.settle()
				w.syncIfDue()
			}
		}
		clear(batch) // let go of the tapes
		w.settle()
		w.flush()
		w.syncIfDue()
	}
	return w.end()
}

// settleEvery is how many events are handled before others are told of it.
const settleEvery = 64

// settle makes room in the queue for as many exchanges as were finished.
func (w *writer) settle() {
	if w.done > 0 {
		w.r.settled(w.done)
		w.done = 0
	}
}

func (w *writer) handle(e *event) {
	t := e.tape
	if e.piece == nil {
		w.finish(t)
		return
	}
	if w.failed == nil {
		w.spill(t, e.side, e.piece, e.request, e.response)
	}
	w.passed(t, e.side, e.piece)
}

// finish brings an exchange that is over to its line, or cleans up after it.
func (w *writer) finish(t *Tape) {
	lost := w.encode(t)
	w.abort(t)
	t.release()
	t.reuse()
	w.done++
	if lost != "" {
		w.r.dropped(1, lost)
	}
	if len(w.buf) >= flushSize {
		w.flush()
	}
}

// loses tells OnLoss, once.
func (w *writer) loses(why Reason) {
	if !w.lossy && w.r.o.OnLoss != nil {
		w.r.o.OnLoss(why)
	}
	w.lossy = true
}

// encode adds t's line. The result says why the exchange was lost just now.
func (w *writer) encode(t *Tape) Reason {
	x := &t.x
	switch {
	case w.failed != nil && t.lost == "":
		return LostDisk
	case w.failed != nil || t.nameless:
		return ""
	}
	own(x)
	if t.lost != "" {
		markDropped(x, t.lost)
		w.loses(t.lost)
	} else {
		for i, b := range [...]*fixtures.Body{request: &x.Request.Body, response: &x.Response.Body} {
			w.joined[i] = t.sides[i].fill(b, w.joined[i])
		}
	}
	// The rest of bodies in files first, while the secrets in the heads, which
	// may stand there too, are still known.
	w.spillRest(t, request, &x.Request, nil)
	w.spillRest(t, response, &x.Request, &x.Response)
	answer := w.again.find(&x.Response)
	if w.r.red != nil {
		w.r.red.Answered(x, answer.known())
	}
	if t.lost == "" && (!w.store(t, request, &x.Request.Body, &x.Request.Header) ||
		!w.store(t, response, &x.Response.Body, &x.Response.Header)) {
		return LostDisk
	}
	line, err := cassette.EncodeAnswered(w.buf, x, answer.line(&x.Response.Body))
	if err != nil {
		if t.lost != "" {
			return ""
		}
		return LostEncoding
	}
	w.buf = line
	w.again.learn(&answer, &x.Response.Body)
	if t.lost == "" {
		w.inBuf++
	} else {
		w.namesIn++
	}
	if w.dirtySince.IsZero() {
		w.dirtySince = time.Now()
	}
	return ""
}

// flush writes the lines gathered so far.
func (w *writer) flush() {
	if len(w.buf) == 0 {
		return
	}
	if w.failed == nil {
		if err := w.r.disk.write(w.buf); err != nil {
			w.fail(fmt.Errorf("append to %s: %w", cassette.ExchangesFile, err))
		}
	}
	if w.failed == nil {
		w.r.kept(w.inBuf)
		w.r.manifest.Counts.Exchanges += w.inBuf + w.namesIn
	} else {
		w.r.dropped(w.inBuf, LostDisk)
	}
	w.buf, w.inBuf, w.namesIn = w.buf[:0], 0, 0
	if cap(w.buf) > 4*flushSize { // one huge line must not be paid for until the end
		w.buf = nil
	}
}

// syncIfDue starts a sync when something has waited for one long enough. The
// writer does not wait for it: a busy disk may take a second for a sync, and
// what is written meanwhile survives at least a SIGKILL.
func (w *writer) syncIfDue() {
	if w.dirtySince.IsZero() || w.syncing || w.failed != nil || time.Since(w.dirtySince) < w.r.o.SyncEvery {
		return
	}
	w.flush()
	w.dirtySince = time.Time{}
	w.syncing = true
	go func() { w.synced <- w.r.disk.sync() }() // owned by the writer, which awaits the result
	w.tellDrops()
}

func (w *writer) syncEnded(err error) {
	w.syncing = false
	if err != nil {
		w.fail(fmt.Errorf("sync the recording: %w", err))
	}
}

// tellDrops brings the manifest up to date when there are new drops to tell of.
func (w *writer) tellDrops() {
	n := w.countDropped()
	if n == w.told || w.failed != nil || time.Since(w.toldAt) < manifestEvery {
		return
	}
	w.told, w.toldAt = n, time.Now()
	m := *w.r.manifest
	m.Counts.Dropped += n
	if err := w.r.disk.manifest(&m); err != nil {
		w.fail(fmt.Errorf("write the manifest: %w", err))
	}
}

// failBody is fail for errors that do not touch the lines: those gathered so far
// can still be written.
func (w *writer) failBody(err error) {
	w.flush()
	w.fail(err)
}

// fail stops the recording: what is queued will be counted as lost.
func (w *writer) fail(err error) {
	if w.failed != nil {
		return
	}
	w.failed = err
	w.r.stop(err)
	for t := range w.spooling {
		w.abort(t)
	}
	if w.r.o.OnError != nil {
		w.r.o.OnError(err)
	}
}

// end writes what is left, and the manifest that closes the recording.
func (w *writer) end() error {
	r := w.r
	for t := range w.spooling { // unfinished, and counted by shut
		w.abort(t)
	}
	r.library.empty()
	w.again.empty()
	w.flush()
	if w.syncing {
		w.syncEnded(<-w.synced)
	}
	if !w.dirtySince.IsZero() {
		w.syncEnded(r.disk.sync())
	}
	if r.discarded() {
		if err := errors.Join(r.disk.discard(), r.disk.close()); err != nil {
			return fmt.Errorf("record: remove what was made: %w", err)
		}
		return nil
	}
	m := r.manifest
	m.State = cassette.StateComplete
	m.Ended = r.o.Now().UTC().Round(0)
	m.Counts.Dropped += w.countDropped()
	r.o.Ledger.fill(m)
	if w.failed != nil {
		m.CutShort = fmt.Sprintf("the recording stopped early: %v", w.failed)
	}
	if err := r.disk.manifest(m); err != nil {
		w.fail(fmt.Errorf("write the manifest: %w", err))
	}
	if err := r.disk.close(); err != nil {
		w.fail(fmt.Errorf("close the cassette: %w", err))
	}
	if w.failed != nil {
		return fmt.Errorf("record: %w", w.failed)
	}
	return nil
}

func (w *writer) countDropped() uint64 {
	var n uint64
	for _, c := range w.r.Stats().Dropped {
		n += c
	}
	return n
}

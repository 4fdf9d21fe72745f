package recorder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

// flushSize is how many bytes of lines are gathered before they are written even
// though more are waiting.
const flushSize = 256 << 10

// manifestEvery is how often the manifest is brought up to date at most: only
// so that a recording which is killed still says how much it had dropped.
const manifestEvery = 5 * time.Second

// maxStored bounds how many stored bodies are remembered, some 10 MiB: an image that
// is answered over and over is written and synced once.
const maxStored = 100_000

// writer is the one goroutine that redacts, encodes and writes.
type writer struct {
	r        *Recorder
	spooling map[*Tape]bool  // tapes with an open body file
	stored   map[string]bool // body files that are there, by SHA-256

	buf     []byte // lines to be written
	inBuf   uint64 // of them, exchanges that are whole
	namesIn uint64 // of them, names of dropped ones

	dirtySince time.Time  // when the oldest unsynced line was encoded; zero for none
	syncing    bool       // a sync is under way, in a goroutine of its own
	synced     chan error // its result
	told       uint64     // drops that the manifest knows of
	toldAt     time.Time
	failed     error
}

func (w *writer) run(ctx context.Context) error {
	r := w.r
	w.toldAt = time.Now()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var batch []event
	for ended := false; !ended; {
		if w.dirtySince.IsZero() || w.syncing {
			timer.Stop()
		} else {
			timer.Reset(time.Until(w.dirtySince.Add(r.o.SyncEvery)))
		}
		select {
		case <-r.wake:
		case <-timer.C:
		case err := <-w.synced:
			w.syncEnded(err)
		case <-ctx.Done():
			r.shut()
			ended = true
		}
		batch = r.take(batch)
		for i := range batch {
			w.handle(&batch[i])
			w.syncIfDue()
		}
		clear(batch) // let go of the tapes
		w.flush()
		w.syncIfDue()
	}
	return w.end()
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
	w.r.budget.give(int64(cap(e.piece)))
}

// spill appends p to the file of a body. q and a come with its first piece: the
// secrets known from them are looked for in the body too.
func (w *writer) spill(t *Tape, i int, p []byte, q *fixtures.Request, a *fixtures.Response) {
	s := &t.sides[i]
	if s.out == nil {
		h := q.Header
		if a != nil {
			h = a.Header
		}
		red := w.r.red
		if red != nil {
			red = red.Knowing(q, a)
		}
		out, err := w.r.disk.body(h, red)
		if err != nil {
			w.failBody(fmt.Errorf("create a body's file: %w", err))
			return
		}
		s.out = out
		w.spooling[t] = true
	}
	if _, err := s.out.Write(p); err != nil {
		w.failBody(fmt.Errorf("write a body: %w", err))
	}
}

// spillRest appends what side i had gathered in the end.
func (w *writer) spillRest(t *Tape, i int, q *fixtures.Request, a *fixtures.Response) {
	if s := &t.sides[i]; s.spilled && len(s.buf) > 0 && t.lost == "" && w.failed == nil {
		w.spill(t, i, s.buf, q, a)
	}
}

// finish brings an exchange that is over to its line, or cleans up after it.
func (w *writer) finish(t *Tape) {
	lost := w.encode(t)
	w.abort(t)
	w.r.budget.give(t.held)
	w.r.settled(lost)
	if len(w.buf) >= flushSize {
		w.flush()
	}
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
	} else {
		t.sides[request].fill(&x.Request.Body)
		t.sides[response].fill(&x.Response.Body)
	}
	// The rest of bodies in files first, while the secrets in the heads, which
	// may stand there too, are still known.
	w.spillRest(t, request, &x.Request, nil)
	w.spillRest(t, response, &x.Request, &x.Response)
	if w.r.red != nil {
		w.r.red.Exchange(x)
	}
	if t.lost == "" && (!w.store(t, request, &x.Request.Body, &x.Request.Header) ||
		!w.store(t, response, &x.Response.Body, &x.Response.Header)) {
		return LostDisk
	}
	line, err := cassette.EncodeExchange(w.buf, x)
	if err != nil {
		if t.lost != "" {
			return ""
		}
		return LostEncoding
	}
	w.buf = line
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

// store puts a body that belongs in a file there; others stay in the line. It
// reports whether the recording goes on.
func (w *writer) store(t *Tape, i int, b *fixtures.Body, head *fixtures.Header) bool {
	s, h := &t.sides[i], *head
	if !s.spilled && len(b.Bytes) > w.r.o.BinaryLimit && !isText(b.Bytes) {
		sum := sha256.Sum256(b.Bytes)
		name := hex.EncodeToString(sum[:])
		if w.stored[name] {
			b.Bytes, b.File, b.Size = nil, name, int64(len(b.Bytes))
			return true
		}
		out, err := w.r.disk.body(h, nil)
		if err != nil {
			w.failBody(fmt.Errorf("create a body's file: %w", err))
			return false
		}
		s.out = out
		w.spooling[t] = true
		if _, err := out.Write(b.Bytes); err != nil {
			w.failBody(fmt.Errorf("write a body: %w", err))
			return false
		}
		b.Bytes = nil
	}
	if w.failed != nil {
		return false
	}
	if s.out == nil {
		return true
	}
	out := s.out
	s.out = nil
	taken, err := out.Commit(b)
	if err != nil {
		_ = out.Abort() // best effort: the error is the one to tell
		w.failBody(fmt.Errorf("store a body: %w", err))
		return false
	}
	if s.spilled {
		*head = redact.Resized(h, s.total, b.Size)
	}
	if len(w.stored) < maxStored {
		w.stored[b.File] = true
	}
	for _, what := range taken {
		t.x.Redacted = append(t.x.Redacted, [...]string{"request.body.", "response.body."}[i]+what)
	}
	return true
}

// abort removes the body files of t that were not committed.
func (w *writer) abort(t *Tape) {
	if !w.spooling[t] {
		return
	}
	delete(w.spooling, t)
	for i := range t.sides {
		if out := t.sides[i].out; out != nil {
			t.sides[i].out = nil
			_ = out.Abort() // best effort: a sweep finds what is left
		}
	}
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
	w.flush()
	if w.syncing {
		w.syncEnded(<-w.synced)
	}
	if !w.dirtySince.IsZero() {
		w.syncEnded(r.disk.sync())
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

// own gives x copies of everything that redaction edits or that the pipeline
// still reads.
func own(x *fixtures.Exchange) {
	x.Request.Header, x.Request.Trailer = x.Request.Header.Clone(), x.Request.Trailer.Clone()
	x.Response.Header, x.Response.Trailer = x.Response.Header.Clone(), x.Response.Trailer.Clone()
	x.Response.Informational = slices.Clone(x.Response.Informational)
	for i := range x.Response.Informational {
		in := &x.Response.Informational[i]
		in.Header = in.Header.Clone()
	}
	x.Request.Body.Frames = slices.Clone(x.Request.Body.Frames)
	x.Response.Body.Frames = slices.Clone(x.Response.Body.Frames)
	x.Request.Body.Bytes = bytes.Clone(x.Request.Body.Bytes)
	x.Response.Body.Bytes = bytes.Clone(x.Response.Body.Bytes)
	x.Redacted = slices.Clone(x.Redacted)
}

// fill puts what a tape gathered into b; a spilled body is stored later. Where
// the tape was given nothing, b keeps what the caller put there.
func (s *side) fill(b *fixtures.Body) {
	switch {
	case s.spilled:
		b.Bytes, b.Size = nil, s.total
	case s.total > 0:
		b.Bytes, b.Size = s.buf, s.total
	default:
		b.Size = int64(len(b.Bytes))
	}
	var sum int64
	for _, f := range b.Frames {
		sum += int64(f.Size)
	}
	if sum != b.Size {
		b.Frames = nil // a rhythm of other bytes than these
	}
}

// markDropped turns x into the name of a lost exchange: heads and times, no
// bodies, and an outcome that keeps replay from answering with it.
func markDropped(x *fixtures.Exchange, why Reason) {
	x.Request.Body = fixtures.Body{}
	x.Response.Body = fixtures.Body{}
	x.Error = "the recording of it was lost: " + string(why)
	x.Outcome = fixtures.OutcomeDropped
}

// isText reports whether a body reads as text, and so stays in its line.
func isText(p []byte) bool { return utf8.Valid(p) && bytes.IndexByte(p, 0) < 0 }

package recorder

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

// maxStored bounds how many stored bodies are remembered, some 10 MiB: an image that
// is answered over and over is written and synced once.
const maxStored = 100_000

// passed frees a piece that was written, or keeps it where the body is to be
// known again.
func (w *writer) passed(t *Tape, i int, p []byte) {
	s := &t.sides[i]
	if s.learn && s.out != nil {
		s.kept = append(s.kept, p)
		if weighed(s.kept) <= w.r.library.limit/2 {
			return
		}
		s.learn = false // longer than the one that was expected
		w.unkeep(s)
		return
	}
	w.r.budget.give(int64(cap(p)))
	freeChunk(p)
}

// unkeep frees what was kept of a body.
func (w *writer) unkeep(s *side) {
	w.r.budget.give(weighed(s.kept))
	for _, p := range s.kept {
		freeChunk(p)
	}
	s.kept = nil
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

// spillRest appends what side i had gathered in the end. A known body is
// written like any other where a secret of this exchange may stand in it.
func (w *writer) spillRest(t *Tape, i int, q *fixtures.Request, a *fixtures.Response) {
	s := &t.sides[i]
	if t.lost != "" || w.failed != nil {
		return
	}
	if s.known != nil && !w.alike(s, q, a) {
		s.spilled = true
		for _, p := range s.known.chunks {
			if w.failed == nil {
				w.spill(t, i, p, q, a)
			}
		}
		t.forget(s)
		return
	}
	if s.spilled && len(s.buf) > 0 {
		p := s.buf
		s.buf = nil
		t.held -= int64(cap(p))
		w.spill(t, i, p, q, a)
		w.passed(t, i, p)
	}
}

// alike reports whether a known body comes out of redaction in this exchange as
// it did before: as it came.
func (w *writer) alike(s *side, q *fixtures.Request, a *fixtures.Response) bool {
	if w.r.red == nil {
		return true
	}
	return w.r.red.Knowing(q, a).Leaves(s.key.kind, s.key.encoding, s.known.chunks[0])
}

// store puts a body that belongs in a file there; others stay in the line. It
// reports whether the recording goes on.
func (w *writer) store(t *Tape, i int, b *fixtures.Body, head *fixtures.Header) bool {
	s, h := &t.sides[i], *head
	if s.known != nil {
		w.r.library.again(s.known)
		b.Bytes, b.File, b.Size = nil, s.known.sha, s.known.size
		return w.failed == nil
	}
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
	taken, err := out.Commit(b, func(sha string) bool { return w.stored[sha] })
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
	if s.spilled && len(taken) == 0 && s.key != (bodyKey{}) && w.r.library.came(&s.key, b.File, b.Size, s.kept) {
		s.kept = nil
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
		w.unkeep(&t.sides[i])
		if out := t.sides[i].out; out != nil {
			t.sides[i].out = nil
			_ = out.Abort() // best effort: a sweep finds what is left
		}
	}
}

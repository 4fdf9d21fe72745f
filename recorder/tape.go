package recorder

import (
	"bytes"
	"slices"
	"sync"

	"github.com/understudy-proxy/understudy/fixtures"
)

// The two sides of an exchange, as indices.
const (
	request = iota
	response
)

// Tape takes one exchange's bytes as they pass. Its methods never block, copy
// what they keep, and do nothing on a nil Tape. RequestBody and ResponseBody may
// be called from two goroutines; neither after Done.
type Tape struct {
	r    *Recorder
	live *fixtures.Exchange // the caller's; read for its heads when a body spills

	mu   sync.Mutex
	lost Reason // "" while it is being kept
	done bool
	*gathered
}

// gathered is what a tape has of its exchange. It is used again by another tape
// once the writer is done with it.
type gathered struct {
	sides [2]side
	held  int64 // bytes reserved from the budget

	// The rest is the writer's from Done on.
	x        fixtures.Exchange
	nameless bool // lost, and not even its name is kept

	lists lists // the arrays of x's headers and frames
}

var gatheredPool = sync.Pool{New: func() any { return new(gathered) }}

// reuse gives back what a tape that is done, and written, had gathered. The tape
// keeps nothing of it.
func (t *Tape) reuse() {
	g := t.gathered
	t.gathered = nil
	spare, lists := [2][]byte{g.sides[request].spare, g.sides[response].spare}, g.lists
	lists.clear()
	*g = gathered{}
	for i := range g.sides {
		g.sides[i].spare = spare[i]
	}
	g.lists = lists
	gatheredPool.Put(g)
}

// side is one body.
type side struct {
	full    [][]byte // whole chunks, before buf
	buf     []byte
	spare   []byte // of another exchange's buf, to be used again
	spilled bool   // it is too large for memory: its bytes go to the writer
	begun   bool   // some have gone
	total   int64  // bytes of the body so far

	key     bodyKey // what it may be known by
	known   *body   // all bytes so far are the beginning of this one's; nil where none are
	learn   bool    // the writer keeps its chunks, to know it again
	counted bool    // as one that is learnt

	out  spool    // where its bytes go; the writer's alone
	kept [][]byte // chunks of a body to learn; the writer's alone
}

// RequestBody takes the next bytes of the request's body.
func (t *Tape) RequestBody(p []byte) { t.add(request, p) }

// ResponseBody takes the next bytes of the response's body. The response's head
// is known by then.
func (t *Tape) ResponseBody(p []byte) { t.add(response, p) }

func (t *Tape) add(i int, p []byte) {
	if t == nil || len(p) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done || t.lost != "" {
		return
	}
	s := &t.sides[i]
	if s.total == 0 {
		if t.recognise(i, p); t.lost != "" {
			return
		}
	}
	if s.known != nil {
		if s.known.holds(s.total, p) {
			s.total += int64(len(p))
			return
		}
		if t.differs(i); t.lost != "" {
			return
		}
	}
	t.keep(i, p)
}

// keep copies p.
func (t *Tape) keep(i int, p []byte) {
	s := &t.sides[i]
	if !s.spilled && s.total+int64(len(p)) > int64(t.r.o.BodyLimit) {
		if !t.r.budget.roomy() { // leave what room there is to those that have begun
			t.lose(LostBudget)
			return
		}
		s.spilled = true
		t.hand(i)
	}
	s.total += int64(len(p))
	for len(p) > 0 {
		if len(s.buf) == chunkSize {
			s.full = append(s.full, s.buf)
			s.buf = nil
			if s.spilled {
				t.hand(i)
			}
		}
		n := min(len(p), chunkSize-len(s.buf))
		if !t.grow(s, n) {
			t.lose(LostBudget)
			return
		}
		s.buf = append(s.buf, p[:n]...)
		p = p[n:]
	}
}

// small is the size in bytes up to which a body's buffer grows by doubling; behind
// it come chunks.
const small = 16 << 10

// grow makes room for n more bytes in s.buf, and reserves it.
func (t *Tape) grow(s *side, n int) bool {
	want := len(s.buf) + n
	if want <= cap(s.buf) {
		return true
	}
	if cap(s.buf) == 0 && want <= cap(s.spare) {
		if !t.r.budget.take(int64(cap(s.spare))) {
			return false
		}
		t.held += int64(cap(s.spare))
		s.buf, s.spare = s.spare[:0], nil
		return true
	}
	switch {
	case cap(s.buf) == 0 && want <= chunkSize/2:
		// A body's first bytes are often all of it: no room to spare for those.
	case want <= small:
		want = max(want, min(2*cap(s.buf), small))
	default:
		want = chunkSize
	}
	more := int64(want - cap(s.buf))
	if !t.r.budget.take(more) {
		return false
	}
	t.held += more
	var grown []byte
	if want == chunkSize {
		grown = newChunk()
	} else {
		grown = make([]byte, 0, want)
	}
	s.buf = append(grown, s.buf...)
	return true
}

// hand passes the whole chunks that side i gathered to the writer, which answers
// for them from then on.
func (t *Tape) hand(i int) {
	s := &t.sides[i]
	for _, p := range s.full {
		t.handPiece(i, p)
	}
	s.full = nil
}

func (t *Tape) handPiece(i int, p []byte) {
	s := &t.sides[i]
	e := event{tape: t, side: i, piece: p}
	if !s.begun {
		live := &t.live.Request
		e.request = &fixtures.Request{Host: live.Host, Target: live.Target, Header: live.Header.Clone()}
		if i == response {
			e.response = &fixtures.Response{Header: t.live.Response.Header.Clone()}
			if q := &t.sides[request]; !q.spilled && q.total <= int64(t.r.o.BodyLimit) {
				e.request.Body.Bytes = bytes.Clone(q.bytes(nil)) // its buffer may be used again
			}
		}
	}
	s.begun = true
	t.held -= int64(cap(p))
	t.r.push(e)
}

// bytes is what is held of a body, in one piece: in place where it is in one,
// else in dst.
func (s *side) bytes(dst []byte) []byte {
	if s.known != nil {
		return s.known.first(dst[:0], s.total)
	}
	if len(s.full) == 0 {
		return s.buf
	}
	dst = slices.Grow(dst[:0], len(s.full)*chunkSize+len(s.buf))
	for _, p := range s.full {
		dst = append(dst, p...)
	}
	return append(dst, s.buf...)
}

// lose gives up on the exchange and frees what it gathered.
func (t *Tape) lose(why Reason) {
	t.lost = why
	t.release()
}

// sparing bounds the buffers that are kept to be used again, in bytes: many are, and
// they count in full against the budget.
const sparing = 4 << 10

// release frees what the tape holds of the bodies.
func (t *Tape) release() {
	t.r.budget.give(t.held)
	t.held = 0
	for i := range t.sides {
		s := &t.sides[i]
		for _, p := range s.full {
			freeChunk(p)
		}
		freeChunk(s.buf)
		if c := cap(s.buf); c > 0 && c <= sparing {
			s.spare = s.buf[:0]
		}
		s.full, s.buf = nil, nil
		t.forget(s)
	}
}

// Done hands over the finished record: heads, times, frames, outcome. x and the
// arrays of its headers and frames are the caller's again when it returns; what else
// it points to must not change any more. Bodies' bytes in it are ignored where the
// tape was given some.
func (t *Tape) Done(x *fixtures.Exchange) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return
	}
	t.done = true
	t.x = *x
	t.lists.take(&t.x)
	for i := range t.sides { // of a known body, only the beginning came
		if s := &t.sides[i]; s.known != nil && s.total != s.known.size {
			t.differs(i)
		}
	}
	t.live = nil
	n := weight(x)
	if t.lost == "" {
		// What a file holds already is not lost for a few bytes more.
		if t.r.budget.take(n) || (t.sides[request].begun || t.sides[response].begun) && t.r.budget.takeName(n) {
			t.held += n
		} else {
			t.lose(LostBudget)
		}
	}
	t.r.finish(t, n)
}

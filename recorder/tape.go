package recorder

import (
	"sync"

	"github.com/understudy-proxy/understudy/fixtures"
)

// pieceSize is how many bytes of a spilled body go to the writer at a time: small
// frames of a long stream are gathered, so that the queue holds few of them.
const pieceSize = 64 << 10

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

	mu    sync.Mutex
	sides [2]side
	held  int64  // bytes reserved from the budget
	lost  Reason // "" while it is being kept
	done  bool

	// The rest is the writer's from Done on.
	x        fixtures.Exchange
	nameless bool // lost, and not even its name is kept
}

// side is one body.
type side struct {
	buf     []byte
	spilled bool  // it is too large for memory: its bytes go to the writer
	begun   bool  // some have gone
	total   int64 // bytes of the body so far
	out     spool // where they go; the writer's alone
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
	if !s.spilled && len(s.buf)+len(p) > t.r.o.BodyLimit {
		t.hand(i)
		s.spilled = true
	}
	if s.spilled && len(s.buf)+len(p) > pieceSize {
		t.hand(i)
	}
	if !t.grow(s, len(p)) {
		t.lose(LostBudget)
		return
	}
	s.buf = append(s.buf, p...)
	s.total += int64(len(p))
}

// grow makes room for n more bytes in s.buf, and reserves it.
func (t *Tape) grow(s *side, n int) bool {
	want := len(s.buf) + n
	if want <= cap(s.buf) {
		return true
	}
	most := t.r.o.BodyLimit
	if s.spilled {
		most = pieceSize
	}
	want = max(want, min(2*cap(s.buf), most))
	// A body's first bytes are often all of it: no room to spare for those.
	more := int64(want - cap(s.buf))
	if !t.r.budget.take(more) {
		return false
	}
	t.held += more
	grown := make([]byte, len(s.buf), want)
	copy(grown, s.buf)
	s.buf = grown
	return true
}

// hand passes what side i gathered to the writer, which answers for its bytes
// from then on.
func (t *Tape) hand(i int) {
	s := &t.sides[i]
	if len(s.buf) == 0 {
		return
	}
	e := event{tape: t, side: i, piece: s.buf}
	if !s.begun {
		live := &t.live.Request
		e.request = &fixtures.Request{Host: live.Host, Target: live.Target, Header: live.Header.Clone()}
		if i == response {
			e.response = &fixtures.Response{Header: t.live.Response.Header.Clone()}
			if q := &t.sides[request]; !q.spilled { // what is there of it does not change any more
				e.request.Body.Bytes = q.buf[:len(q.buf):len(q.buf)]
			}
		}
	}
	s.begun = true
	s.buf = nil
	t.held -= int64(cap(e.piece))
	t.r.push(e)
}

// lose gives up on the exchange and frees what it gathered.
func (t *Tape) lose(why Reason) {
	t.lost = why
	t.r.budget.give(t.held)
	t.held = 0
	t.sides[request].buf, t.sides[response].buf = nil, nil
}

// Done hands over the finished record: heads, times, frames, outcome. What it
// points to must not change any more; reading it stays allowed. Bodies' bytes
// in it are ignored where the tape was given some.
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
	t.live = nil
	n := weight(x)
	if t.lost == "" {
		if t.r.budget.take(n) {
			t.held += n
		} else {
			t.lose(LostBudget)
		}
	}
	t.r.finish(t, n)
}

// Lost says why the recording of this exchange was given up; "" while it was not.
func (t *Tape) Lost() Reason {
	if t == nil {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

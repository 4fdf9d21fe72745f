package recorder

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// bodyKey is by what a body may be one that came before: its message's head and
// its first bytes. It is a guess; what is found by it is compared byte by byte.
type bodyKey struct {
	side                   int
	length, kind, encoding string // as the header says
	first                  [32]byte
}

// body is a large one that is in a file.
type body struct {
	sha  string
	size int64
	// chunks are its bytes, where it came often enough to keep them; all but the
	// last are full. They do not change.
	chunks [][]byte
	users  atomic.Int32 // tapes that compare with it
	wanted bool         // it came twice
	missed int          // how often another came by the same key
}

// library remembers large bodies. One that comes again and again, byte by byte
// the same, is compared where others are copied, hashed and written.
type library struct {
	budget *budget
	limit  int64 // bytes of all chunks

	mu       sync.Mutex
	bodies   map[bodyKey]*body
	held     int64 // bytes of their chunks
	learning int   // tapes of which the chunks are kept
}

// maxKnown bounds how many bodies are remembered, by their names at least.
const maxKnown = 1024

// maxLearning bounds how many bodies are learnt at a time: what is kept of
// them is memory that others lack.
const maxLearning = 2

// find returns the body that may be coming, pinned. It says learn where there is
// none, and the bytes of this one are wanted: those of one that came before, and
// while there is room those of any. The caller tells learnt when it is done.
func (l *library) find(k *bodyKey) (b *body, learn bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b = l.bodies[*k]
	if b != nil && b.chunks != nil {
		b.users.Add(1)
		return b, false
	}
	if l.learning >= maxLearning || !l.budget.roomy() {
		return nil, false
	}
	if learn = l.held <= l.limit/2; b != nil {
		learn = (learn || b.wanted) && b.size <= l.limit/2
	}
	if learn {
		l.learning++
	}
	return nil, learn
}

func (l *library) learnt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.learning--
}

// came notes that a body was stored as it came. It takes chunks over where there
// is room, or can be made for what came before, and reports whether it did; nil
// for none. Their bytes are in the budget.
func (l *library) came(k *bodyKey, sha string, size int64, chunks [][]byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bodies[*k]
	if b != nil && b.sha != sha {
		const patience = 4 // with those by whose key others come now and then
		if b.missed++; b.chunks != nil && b.missed < patience || !l.drop(k, b) {
			return false
		}
		b = nil
	}
	if b == nil {
		if len(l.bodies) >= maxKnown {
			l.evict(false)
		}
		b = &body{sha: sha, size: size}
		if l.bodies == nil {
			l.bodies = map[bodyKey]*body{}
		}
		l.bodies[*k] = b
	} else {
		b.wanted = true
	}
	if b.chunks != nil || chunks == nil {
		return false
	}
	n := weighed(chunks)
	for l.held+n > l.limit {
		if !b.wanted || !l.evict(true) {
			return false
		}
	}
	l.held += n
	b.chunks = chunks
	return true
}

// again notes that b came, byte by byte.
func (l *library) again(b *body) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.missed = 0
}

// evict drops some body that nobody uses, one with bytes if so asked.
func (l *library) evict(bytes bool) bool {
	for k, b := range l.bodies { // any: a map's order is none
		if (b.chunks != nil || !bytes) && l.drop(&k, b) {
			return true
		}
	}
	return false
}

// drop forgets b unless it is used.
func (l *library) drop(k *bodyKey, b *body) bool {
	if b.users.Load() > 0 {
		return false
	}
	delete(l.bodies, *k)
	n := weighed(b.chunks)
	l.held -= n
	l.budget.give(n)
	for _, p := range b.chunks {
		freeChunk(p)
	}
	return true
}

// empty forgets all that nobody uses.
func (l *library) empty() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, b := range l.bodies {
		l.drop(&k, b)
	}
	l.limit = 0 // and learn no more
}

// weighed is what chunks take of the budget.
func weighed(chunks [][]byte) (n int64) {
	for _, p := range chunks {
		n += int64(cap(p))
	}
	return n
}

// holds reports whether b goes on with p at an offset.
func (b *body) holds(at int64, p []byte) bool {
	if at+int64(len(p)) > b.size {
		return false
	}
	for len(p) > 0 {
		c := b.chunks[at/chunkSize][at%chunkSize:]
		n := min(len(c), len(p))
		if !bytes.Equal(c[:n], p[:n]) {
			return false
		}
		at, p = at+int64(n), p[n:]
	}
	return true
}

// first appends b's first n bytes to dst.
func (b *body) first(dst []byte, n int64) []byte {
	for _, c := range b.chunks {
		c = c[:min(int64(len(c)), n)]
		dst = append(dst, c...)
		n -= int64(len(c))
	}
	return dst
}

// recognise looks for the body that begins with p among those that came before.
// Small ones are not worth it. A large one that is none of them is given up at
// once where there is no room for it: half a body is of no use.
func (t *Tape) recognise(i int, p []byte) {
	const least = 1 << 10 // of a body without a length, in its first piece
	s := &t.sides[i]
	h := t.live.Request.Header
	if i == response {
		h = t.live.Response.Header
	}
	length := h.Get("Content-Length")
	n, err := strconv.ParseInt(length, 10, 64)
	if err == nil && n <= int64(t.r.o.BodyLimit) {
		return
	}
	if len(p) >= len(s.key.first) && (length != "" || len(p) >= least) {
		s.key = bodyKey{side: i, length: length, kind: h.Get("Content-Type"), encoding: strings.Join(h.Values("Content-Encoding"), ",")}
		copy(s.key.first[:], p)
		s.known, s.learn = t.r.library.find(&s.key)
		s.counted = s.learn
	}
	if err == nil && s.known == nil && !t.r.budget.roomy() { // there will be no room for it
		t.lose(LostBudget)
	}
}

// differs ends a comparison: what was equal so far is kept like any other body.
func (t *Tape) differs(i int) {
	s := &t.sides[i]
	b, n := s.known, s.total
	s.known, s.total = nil, 0
	for _, c := range b.chunks {
		if n == 0 || t.lost != "" {
			break
		}
		c = c[:min(int64(len(c)), n)]
		t.keep(i, c)
		n -= int64(len(c))
	}
	b.users.Add(-1)
}

// forget ends what is under way with the library.
func (t *Tape) forget(s *side) {
	if s.known != nil {
		s.known.users.Add(-1)
		s.known = nil
	}
	if s.counted {
		t.r.library.learnt()
		s.counted = false
	}
}

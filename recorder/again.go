package recorder

import (
	"bytes"
	"hash/maphash"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
)

// The sizes in bytes of the bodies that are worth it to know again, and how many are
// known at a time. Larger ones have the library.
const (
	leastAgain = 128
	mostAgain  = 8 << 10
	againSlots = 64
)

// again knows small bodies of answers that came before, without a content coding, and in
// which there was nothing to take out. One that comes again, byte by byte the same,
// is neither searched nor encoded anew. It is the writer's.
type again struct {
	budget *budget
	seed   maphash.Seed
	slots  [againSlots]smallBody // by hash
}

type smallBody struct {
	kind   string // as Content-Type says
	bytes  []byte
	quoted []byte // as it stands in a line
	hash   uint64 // of another that came to this slot last
}

// sighting is a body that is looked for in again.
type sighting struct {
	slot  *smallBody // nil where it is not worth it
	hash  uint64
	kind  string
	bytes []byte
	found bool
}

// find looks for the body of p, before it is redacted.
func (g *again) find(p *fixtures.Response) (s sighting) {
	b := p.Body.Bytes
	if len(b) < leastAgain || len(b) > mostAgain || p.Header.Has("Content-Encoding") {
		return s
	}
	s.bytes, s.kind, s.hash = b, p.Header.Get("Content-Type"), maphash.Bytes(g.seed, b)
	s.slot = &g.slots[s.hash%againSlots]
	s.found = s.slot.kind == s.kind && bytes.Equal(s.slot.bytes, b)
	return s
}

// known reports whether the body came before, and nothing was taken out.
func (s *sighting) known() bool { return s.found }

// line is how b stands in a line; nil where it is not known, or is not what came.
func (s *sighting) line(b *fixtures.Body) []byte {
	if !s.found || !s.left(b) {
		return nil
	}
	return s.slot.quoted
}

// left reports whether b is still what came: redaction puts other bytes in its stead,
// and does not write to it.
func (s *sighting) left(b *fixtures.Body) bool {
	return len(b.Bytes) == len(s.bytes) && len(s.bytes) > 0 && &b.Bytes[0] == &s.bytes[0]
}

// learn remembers a body that came twice.
func (g *again) learn(s *sighting, b *fixtures.Body) {
	if s.slot == nil || s.found || !s.left(b) {
		return
	}
	if s.slot.hash != s.hash {
		s.slot.hash = s.hash
		return
	}
	g.forget(s.slot)
	quoted := cassette.AppendBody(nil, b.Bytes)
	n := int64(len(b.Bytes) + cap(quoted))
	if !g.budget.take(n) {
		return
	}
	*s.slot = smallBody{kind: s.kind, bytes: bytes.Clone(b.Bytes), quoted: quoted, hash: s.hash}
}

func (g *again) forget(b *smallBody) {
	g.budget.give(int64(len(b.bytes) + cap(b.quoted)))
	*b = smallBody{hash: b.hash}
}

// empty forgets all.
func (g *again) empty() {
	for i := range g.slots {
		g.forget(&g.slots[i])
	}
}

package recorder

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"github.com/understudy-proxy/understudy/fixtures"
)

// own gives x copies of what redaction would edit in place. It leaves headers,
// bodies and frames as they are, and puts others in their stead.
func own(x *fixtures.Exchange) {
	x.Response.Informational = slices.Clone(x.Response.Informational)
	x.Redacted = slices.Clone(x.Redacted)
}

// fill puts what a tape gathered into b; a body for a file is stored later. Where
// the tape was given nothing, b keeps what the caller put there. What is in several
// chunks is joined in scratch, which is given back.
func (s *side) fill(b *fixtures.Body, scratch []byte) []byte {
	switch {
	case s.spilled || s.known != nil:
		b.Bytes, b.Size = nil, s.total
	case s.total > 0:
		b.Bytes, b.Size = s.bytes(scratch), s.total
		if len(s.full) > 0 {
			scratch = b.Bytes
		}
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
	return scratch
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

package proxy

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// play makes an answer of a recorded one. The request is read to its end
// first: the recorded rhythm counts from there.
func (v *visit) play(found *fixtures.Answer) (*answer, error) {
	if v.body != nil && !v.streamsBothWays() {
		before := v.body.waitedFor()
		_, err := io.Copy(io.Discard, v.body)
		v.client += v.body.waitedFor() - before
		if err != nil {
			return nil, v.clientError(err)
		}
	}
	v.x.Source = found.Source
	resp := found.Response
	base := v.ready
	if base.IsZero() {
		base = v.requestEnd()
	}
	a := &answer{
		head: wire.Head{
			Status: resp.Status, Reason: resp.Reason, Exact: resp.Proto != "HTTP/2.0" && resp.Proto != "",
			Header: resp.Header, Length: playedLength(resp), Chunked: resp.Body.Chunked,
		},
		base:     base,
		firstDue: base.Add(v.scaled(found, found.FirstByte)),
		informs:  make([]fixtures.Informational, len(resp.Informational)),
		trailer:  func() fixtures.Header { return resp.Trailer },
		close:    nothing,
	}
	for i, inf := range resp.Informational {
		a.informs[i] = inf
		a.informs[i].At = v.scaled(found, inf.At)
	}
	frames := &frameReader{
		frames: resp.Body.Frames, base: base, scale: func(d time.Duration) time.Duration { return v.scaled(found, d) },
		separate: resp.Body.Chunked, cut: resp.Body.CutShort,
	}
	if found.Open != nil {
		src, err := found.Open()
		if err != nil {
			return v.unplayable(fmt.Errorf("open body of %s: %w", found.Source, err)), nil
		}
		frames.src, frames.left = src, resp.Body.Size
		a.close = func() { _ = src.Close() } // it was only read
	} else {
		frames.bytes, frames.left = resp.Body.Bytes, int64(len(resp.Body.Bytes))
	}
	a.next = frames.next
	v.x.Response = fixtures.Response{Proto: resp.Proto, Status: resp.Status, Reason: resp.Reason, Header: resp.Header, Trailer: resp.Trailer}
	return a, nil
}

// scaled is how long after the request a recorded moment comes again.
func (v *visit) scaled(found *fixtures.Answer, d time.Duration) time.Duration {
	if !v.p.o.Rhythm && !found.Always {
		return 0
	}
	return time.Duration(float64(d) / v.p.o.Speed)
}

// playedLength is the length that a recorded response announces; -1 for none: a
// client must not be told a length that the original left open, as a body that
// ends with its connection does, or one of HTTP/2 without Content-Length.
func playedLength(r *fixtures.Response) int64 {
	b := &r.Body
	n, declared := contentLength(r.Header)
	switch {
	case b.Chunked:
		return -1
	case declared && (b.CutShort || len(r.Trailer) > 0):
		return n
	case declared:
		return b.Size
	case b.CutShort, len(r.Trailer) > 0:
		return -1
	case len(b.Frames) == 0: // empty, a stub, or an import: there was no stream to be true to
		return b.Size
	}
	return -1
}

// streamsBothWays reports whether the client may wait for an answer before it
// ends its request, as gRPC's streams do.
func (v *visit) streamsBothWays() bool {
	return v.r.Proto == "HTTP/2.0" && v.r.Length < 0 && strings.HasPrefix(v.r.Header.Get("Content-Type"), "application/grpc")
}

// contentLength returns the value of a well-formed Content-Length.
func contentLength(h fixtures.Header) (int64, bool) {
	s := h.Get("Content-Length")
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
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
	v.x.Source, v.x.Stub = found.Source, found.Stub
	resp := found.Response
	p := newPlaying()
	a := &p.answer
	a.close = p.shut // before anything can fail: it is what gives p back
	a.base = v.ready
	if a.base.IsZero() {
		a.base = v.requestEnd()
	}
	a.head = wire.Head{
		Status: resp.Status, Reason: resp.Reason, Exact: resp.Proto != "HTTP/2.0" && resp.Proto != "",
		Header: resp.Header, Length: playedLength(resp), Chunked: resp.Body.Chunked,
	}
	a.fault = found.Fault
	speed := v.speed(found)
	first := scaled(found.FirstByte, speed)
	a.firstDue, a.paced = a.base.Add(first), first > 0
	for _, inf := range resp.Informational {
		inf.At = scaled(inf.At, speed)
		a.informs = append(a.informs, inf)
	}
	if len(resp.Trailer) > 0 {
		p.fields, a.trailer = resp.Trailer, p.trailer
	}
	a.next = p.next
	p.frames = frameReader{
		frames: resp.Body.Frames, base: &a.base, speed: speed, separate: resp.Body.Chunked, cut: resp.Body.CutShort,
	}
	if found.Open != nil {
		src, err := found.Open()
		if err != nil {
			a.close()
			return v.unplayable(fmt.Errorf("open body of %s: %w", found.Source, err)), nil
		}
		p.src, p.frames.src, p.frames.left = src, src, resp.Body.Size
	} else {
		p.frames.bytes, p.frames.left = resp.Body.Bytes, int64(len(resp.Body.Bytes))
	}
	v.x.Response = fixtures.Response{Proto: resp.Proto, Status: resp.Status, Reason: resp.Reason, Header: resp.Header, Trailer: resp.Trailer}
	if found.Entrance != nil {
		a.first = first
		a.turn = found.Entrance.Enter(a.base, resp.Body.Size, tailOf(found), speed) // last: who holds a can leave it
	}
	return a, nil
}

// tailOf is how long an answer goes on after its first byte.
func tailOf(found *fixtures.Answer) time.Duration {
	frames := found.Response.Body.Frames
	if len(frames) == 0 {
		return 0
	}
	return max(0, frames[len(frames)-1].At-found.FirstByte)
}

// settle waits until it is known for good when an answer is due that waits for others, or
// until what comes ahead of it by so much may be due. In between it asks a few times, as
// the turn tells.
func (v *visit) settle(ctx context.Context, a *answer, ahead time.Duration) error {
	for a.turn != nil && !a.settled {
		now := v.now()
		at, again := a.turn.Due(now)
		a.firstDue, a.base = at, at.Add(-a.first)
		if again.IsZero() {
			a.settled, a.paced = true, at.After(v.start)
			return nil
		}
		if ahead > 0 {
			early := at.Add(-ahead)
			if !early.After(now) {
				return nil
			}
			if early.Before(again) {
				again = early
			}
		}
		sooner := a.turn.Sooner()
		_, err := v.sleep(ctx, again, &v.paced, func(ctx context.Context, _ <-chan struct{}, until time.Time) error {
			err := timing.SleepUntil(ctx, sooner, until)
			if errors.Is(err, timing.ErrGone) {
				return nil // it is to be asked again
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// playing is an answer that is being played, with all it needs. It is pooled,
// its functions bound once: saves 5 allocations per exchange (BenchmarkReplay).
type playing struct {
	answer answer
	frames frameReader
	fields fixtures.Header // the trailer
	src    io.Closer       // the body's file; nil for one in memory

	next    func() ([]byte, time.Time, error)
	trailer func() fixtures.Header
	shut    func()
}

var playings sync.Pool // of *playing

func newPlaying() *playing {
	if p, ok := playings.Get().(*playing); ok {
		return p
	}
	p := &playing{}
	p.next = p.frames.next
	p.trailer = func() fixtures.Header { return p.fields }
	p.shut = p.end
	return p
}

// end gives p back. The answer must not be used any more.
func (p *playing) end() {
	if turn := p.answer.turn; turn != nil {
		p.answer.turn = nil
		turn.Leave(time.Now())
	}
	if p.src != nil {
		_ = p.src.Close() // it was only read
	}
	p.answer, p.frames, p.fields, p.src = answer{}, frameReader{}, nil, nil
	playings.Put(p)
}

// speed divides an answer's recorded times; 0 where it comes at once.
func (v *visit) speed(found *fixtures.Answer) float64 {
	if !v.p.o.Rhythm && !found.Stub && found.Entrance == nil {
		return 0
	}
	return v.p.o.Speed
}

// scaled is how long after the request a moment recorded at d comes again.
func scaled(d time.Duration, speed float64) time.Duration {
	if speed == 0 {
		return 0
	}
	return time.Duration(float64(d) / speed)
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

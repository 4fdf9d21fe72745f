package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// answer is a response on its way to the client, whoever gave it.
type answer struct {
	head     wire.Head
	firstDue time.Time // when its first byte is due; not after now for one that has come
	// informs are interim responses still to be sent, relative to base.
	informs []fixtures.Informational
	base    time.Time
	// next returns the next part of the body and when it is due, the zero time
	// for at once. The part is valid until the next call and must not be
	// changed. It ends with io.EOF; a part may come with it.
	next    func() (part []byte, due time.Time, err error)
	trailer func() fixtures.Header
	// live is set for an answer from upstream: its bytes go to the tape, and waiting for
	// them is the upstream's time.
	live  bool
	close func()
}

func noClose() {}

// answer finds who answers: a cassette or stub, or the upstream. An error is
// an exchange that has already been ended towards the client.
func (v *visit) answer(ctx context.Context) (*answer, error) {
	o := &v.p.o
	if o.Responder != nil {
		a, err := v.replay()
		if err == nil {
			return a, nil
		}
		miss, ok := errors.AsType[*fixtures.MissError](err)
		if !ok {
			o.Log.Error("stub cannot answer", zap.Error(err), zap.String("url", v.x.Request.URL()))
			v.x.Outcome, v.x.Error = fixtures.OutcomeMiss, err.Error()
			return v.local(problem(http.StatusInternalServerError, "stub cannot answer", err.Error(), nil)), nil
		}
		v.x.Miss = miss
		if o.OnMiss == MissFail || o.Upstream == nil {
			o.Log.Warn("miss", zap.Error(miss))
			v.x.Outcome, v.x.Error = fixtures.OutcomeMiss, miss.Error()
			return v.local(missProblem(miss)), nil
		}
		if e := o.Log.Check(zap.InfoLevel, "miss, forwarded"); e != nil {
			e.Write(zap.Error(miss))
		}
	}
	if o.Upstream == nil {
		v.x.Outcome = fixtures.OutcomeMiss
		return v.local(problem(http.StatusBadGateway, "nobody to answer", "no cassette and no upstream", nil)), nil
	}
	if o.Recorder != nil && (o.Responder == nil || o.OnMiss == MissRecord) {
		v.record()
	}
	return v.roundTrip(ctx)
}

// record starts the tape.
func (v *visit) record() {
	to := v.p.o.Recorder.Begin(v.x)
	if to == nil {
		return
	}
	v.x.Recording = true
	v.tape = &tape{to: to}
	if v.body != nil {
		v.body.record(v.tape)
	}
}

// replay answers from a cassette or a stub.
func (v *visit) replay() (*answer, error) {
	if v.body != nil && !v.streamsBothWays() {
		// The recorded rhythm counts from the request's last byte.
		if _, err := io.Copy(io.Discard, v.body); err != nil {
			v.x.Outcome = fixtures.OutcomeClient
			return nil, err
		}
	}
	found, err := v.p.o.Responder.Respond(v.x)
	if err != nil {
		return nil, err
	}
	v.x.Source = found.Source
	return v.play(found)
}

// streamsBothWays reports whether the client may wait for an answer before it
// ends its request, as gRPC's streams do.
func (v *visit) streamsBothWays() bool {
	return v.r.Proto == "HTTP/2.0" && v.r.Length < 0 && strings.HasPrefix(v.r.Header.Get("Content-Type"), "application/grpc")
}

// play makes an answer of a recorded one.
func (v *visit) play(found *fixtures.Answer) (*answer, error) {
	o := &v.p.o
	resp := found.Response
	base := v.start
	if v.body != nil {
		if at, ended := v.body.ended(); ended {
			base = at
		} else {
			base = time.Now()
		}
	}
	scale := func(d time.Duration) time.Duration {
		if !o.Rhythm && !found.Always {
			return 0
		}
		return time.Duration(float64(d) / o.Speed)
	}
	a := &answer{
		head: wire.Head{
			Status: resp.Status, Reason: resp.Reason, Exact: resp.Proto != "HTTP/2.0" && resp.Proto != "",
			Header: resp.Header, Length: resp.Body.Size, Chunked: resp.Body.Chunked,
		},
		base:     base,
		firstDue: base.Add(scale(found.FirstByte)),
		informs:  make([]fixtures.Informational, len(resp.Informational)),
		trailer:  func() fixtures.Header { return resp.Trailer },
		close:    noClose,
	}
	for i, inf := range resp.Informational {
		a.informs[i] = inf
		a.informs[i].At = scale(inf.At)
	}
	if resp.Body.CutShort || resp.Body.Chunked || len(resp.Trailer) > 0 {
		a.head.Length = -1
		if n, ok := contentLength(resp.Header); ok && !resp.Body.Chunked {
			a.head.Length = n
		}
	}
	frames := &frameReader{frames: resp.Body.Frames, base: base, scale: scale, separate: resp.Body.Chunked, cut: resp.Body.CutShort, left: resp.Body.Size}
	if found.Open != nil {
		src, err := found.Open()
		if err != nil {
			return nil, err
		}
		frames.src, a.close = src, func() { _ = src.Close() }
	} else {
		frames.bytes = resp.Body.Bytes
	}
	a.next = frames.next
	v.x.Response = fixtures.Response{Proto: resp.Proto, Status: resp.Status, Reason: resp.Reason, Header: resp.Header, Trailer: resp.Trailer}
	return a, nil
}

// local makes an answer of our own words.
func (v *visit) local(f *fixtures.Fault) *answer {
	v.x.Response = fixtures.Response{Proto: v.r.Proto, Status: f.Status, Reason: f.Reason, Header: f.Header}
	body := f.Body
	return &answer{
		head:     wire.Head{Status: f.Status, Reason: f.Reason, Header: f.Header, Length: int64(len(body))},
		firstDue: v.start,
		next: func() ([]byte, time.Time, error) {
			return body, time.Time{}, io.EOF
		},
		close: noClose,
	}
}

// frameReader hands out a recorded body in its frames. Frames that are due
// already come together, except where the recording sent them as separate chunks.
type frameReader struct {
	frames   []fixtures.Frame
	base     time.Time
	scale    func(time.Duration) time.Duration
	separate bool
	cut      bool // the recording ended before the body did
	left     int64

	run int64     // bytes still to come of the frames under way
	due time.Time // when they are due

	bytes []byte    // the body, or
	src   io.Reader // where it is read from
	buf   []byte
}

// fileRead is how much of a body that lives in a file is read at a time.
const fileRead = 64 << 10

func (f *frameReader) next() ([]byte, time.Time, error) {
	if f.left <= 0 {
		if f.cut {
			return nil, time.Time{}, io.ErrUnexpectedEOF
		}
		return nil, time.Time{}, io.EOF
	}
	if f.run == 0 {
		f.nextRun()
	}
	n := f.run
	if f.src == nil {
		part := f.bytes[:n]
		f.bytes = f.bytes[n:]
		f.run, f.left = 0, f.left-n
		return part, f.due, nil
	}
	if f.buf == nil {
		f.buf = make([]byte, min(fileRead, f.left))
	}
	n = min(n, int64(len(f.buf)))
	if _, err := io.ReadFull(f.src, f.buf[:n]); err != nil {
		return nil, f.due, err
	}
	f.run, f.left = f.run-n, f.left-n
	return f.buf[:n], f.due, nil
}

// nextRun finds how many bytes come next and when they are due.
func (f *frameReader) nextRun() {
	f.run, f.due = f.left, time.Time{}
	if len(f.frames) == 0 {
		return
	}
	f.due = f.base.Add(f.scale(f.frames[0].At))
	n := int64(f.frames[0].Size)
	f.frames = f.frames[1:]
	for now := time.Now(); !f.separate && len(f.frames) > 0 && !f.due.After(now); f.frames = f.frames[1:] {
		if f.base.Add(f.scale(f.frames[0].At)).After(now) {
			break
		}
		n += int64(f.frames[0].Size)
	}
	f.run = max(1, min(n, f.left))
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

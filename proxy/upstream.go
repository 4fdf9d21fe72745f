package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// roundTrip asks the upstream.
func (v *visit) roundTrip(ctx context.Context) (*answer, error) {
	v.x.Source = "upstream"
	v.out = *v.r
	v.out.Header = v.headerUpstream()
	v.out.Inform = v.bound.inform
	v.watch()
	ctx, detach, abandon := v.upstreamContext(ctx)
	v.sends = v.body != nil
	sent, waited := v.handOver(), v.waitedFor()
	v.out.At = sent
	resp, err := v.p.o.Upstream.RoundTrip(ctx, &v.out)
	if err != nil {
		if abandon != nil {
			defer abandon()
		}
		v.asked(sent, v.now(), waited, nil)
		return v.upstreamFailed(ctx, err)
	}
	v.asked(sent, resp.Trace.FirstAt, waited, &resp.Trace)
	if resp.Switched != nil && !v.r.Header.Has("Upgrade") {
		_ = resp.Switched.Close() // nobody is left to tell
		if abandon != nil {
			abandon()
		}
		return v.upstreamFailed(ctx, &wire.UpstreamError{Op: "protocol", Addr: v.r.Host, Err: errUnasked})
	}
	t := &v.x.Times
	t.UpstreamConnect, t.UpstreamTLS, t.Reused = resp.Trace.Connect, resp.Trace.TLS, resp.Trace.Reused
	if !resp.Trace.SentAt.IsZero() {
		t.UpstreamSent = resp.Trace.SentAt.Sub(v.start)
	}
	t.FirstByte = resp.Trace.FirstAt.Sub(v.start)

	rec := &v.x.Response
	rec.Proto, rec.Status, rec.Reason, rec.Header = resp.Proto, resp.Status, resp.Reason, resp.Header
	rec.Body.Chunked = resp.Chunked
	v.reply = upstreamBody{v: v, resp: resp, abandon: abandon}
	a := &v.ans
	*a = answer{
		head: wire.Head{
			Status: resp.Status, Reason: resp.Reason, Exact: resp.Proto != "HTTP/2.0",
			Header: resp.Header, Length: resp.Length, Chunked: resp.Chunked,
		},
		firstDue: resp.Trace.FirstAt, live: true, next: v.bound.next, trailer: resp.Trailer, switched: resp.Switched,
		detach: detach, abandon: abandon, close: v.bound.shut,
	}
	return a, nil
}

// errUnasked is why a 101 is no answer to a client that asked for no other protocol,
// as where a rule did in its place.
var errUnasked = errors.New("switched protocols, which the client did not ask for")

// handOver is when the request is handed over to the upstream's side: now, which
// is when its books were opened where nobody was asked about it since. The
// clock is dear enough to show when it is asked often.
func (v *visit) handOver() time.Time {
	o := &v.p.o
	if v.begun.IsZero() || o.Planner != nil || o.Responder != nil || v.tape != nil {
		return v.now()
	}
	return v.begun
}

// inform passes an interim response on.
func (v *visit) inform(status int, h fixtures.Header) {
	v.x.Response.Informational = append(v.x.Response.Informational,
		fixtures.Informational{At: time.Since(v.start), Status: status, Header: h})
	_ = v.w.Inform(status, endToEnd(h, nil, nil)) // the final head will tell that the client left
}

// upstreamContext bounds the upstream's work: it ends when the client leaves,
// so that what was occupied there is freed as it would be without us in
// between. Where a rule may break the answer, detach takes the client's
// leaving out, so that the answer can be recorded whole.
func (v *visit) upstreamContext(ctx context.Context) (_ context.Context, detach, abandon func()) {
	if v.tape == nil || v.x.Plan.Fault == nil && !v.x.Plan.NeedsResponse {
		return ctx, nil, nil
	}
	free, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	return free, func() { stop() }, func() {
		stop()
		cancel()
	}
}

func (v *visit) waitedFor() time.Duration {
	if v.body == nil {
		return 0
	}
	return v.body.waitedFor()
}

// asked books the wait for a response's head. While the request's body was
// still coming, it was the client that was waited for. t is the trace of a response
// that came, else nil.
func (v *visit) asked(sent, until time.Time, waitedBefore time.Duration, t *wire.Trace) {
	v.turn(fixtures.StageSend, sent)
	whole := max(until.Sub(sent), 0)
	client := min(v.waitedFor()-waitedBefore, whole)
	v.client += client
	v.upstream += whole - client - sending(sent, client, t)
	v.turn(fixtures.StageAnswer, sent.Add(whole))
}

// sending is how long it took to find a connection and write a request that was
// handed over at sent, the wait for the client in between deducted. As with writing to
// the client, what takes long was waiting for the other side to read.
func sending(sent time.Time, client time.Duration, t *wire.Trace) time.Duration {
	if t == nil || t.SentAt.IsZero() || !t.SentAt.Before(t.FirstAt) { // not noted
		return 0
	}
	d := t.SentAt.Sub(sent) - t.Connect - t.TLS - client
	if d < 0 || d >= slowWrite {
		return 0
	}
	return d
}

// headerUpstream is the header that the upstream gets. Its Host field names the
// upstream where the client knew it by another name, as behind a reverse door.
func (v *visit) headerUpstream() fixtures.Header {
	edits := v.x.Plan.EditRequest
	host := v.r.Header.Get("Host")
	if host == "" || host == v.r.Host {
		return endToEnd(v.r.Header, edits, &v.headers.out)
	}
	h := v.headers.out[:0]
	if !hasHop(v.r.Header) {
		h = append(h, v.r.Header...)
	} else {
		h = withoutHop(v.r.Header, h)
	}
	h.Set("Host", v.r.Host)
	v.headers.out = edited(h, edits)
	return v.headers.out
}

// upstreamBody hands out a response's body and writes down how it came.
type upstreamBody struct {
	v      *visit
	resp   *wire.Response
	buf    []byte
	pooled pooledBuffer
	last   int       // how much the last read gave
	at     time.Time // when it was over
	// arrived is set where the next read will not wait.
	arrived bool
	held    []byte // what was read while the answer is held; nil for nothing
	err     error  // how it ended
	// abandon ends the upstream's work; nil where it ends with the body.
	abandon func()
}

// there reports whether some of the body, or its end, has come already.
func (b *upstreamBody) there() bool {
	if b.held != nil {
		return true
	}
	if body, ok := b.resp.Body.(interface{ Arrived() bool }); ok {
		b.arrived = body.Arrived()
		return b.arrived
	}
	// What comes from HTTP/2 with a length comes close behind its head.
	return b.resp.Length >= 0
}

// hold reads a body that has come whole before the answer is held: the connection
// is free for others meanwhile, where otherwise each held answer would keep one. Of
// a longer one, which must flow, nothing is read.
func (b *upstreamBody) hold() {
	body, ok := b.resp.Body.(interface {
		ReadHere(room func(n int) []byte) ([]byte, error)
	})
	if !ok || b.err != nil || b.held != nil {
		return
	}
	part, err := body.ReadHere(b.room)
	if len(part) > 0 {
		b.held = part
	}
	b.noted(part, err, b.v.now())
}

// room returns a buffer for n bytes: of a size of its own where the pooled one
// would be much larger, as many answers may be held at once.
func (b *upstreamBody) room(n int) []byte {
	if n <= smallBody {
		return b.pooled.take(int64(n))
	}
	return make([]byte, n)
}

// noted writes down what a read gave that was over now.
func (b *upstreamBody) noted(part []byte, err error, now time.Time) {
	v, rec := b.v, &b.v.x.Response
	if len(part) > 0 {
		addFrame(&rec.Body, now.Sub(v.start), len(part))
		if v.tape != nil {
			v.tape.response(part)
		}
	}
	if err == nil {
		return
	}
	b.err = err
	v.x.Times.End = now.Sub(v.start)
	if !errors.Is(err, io.EOF) {
		rec.Body.CutShort = true
	} else if b.resp.Trailer != nil {
		rec.Trailer = b.resp.Trailer()
	}
}

// writing begins the stage of writing, unless what is read is only salvaged.
func (b *upstreamBody) writing(now time.Time) {
	if v := b.v; v.own.stage == fixtures.StageAnswer && v.served.IsZero() {
		v.turn(fixtures.StageWrite, now)
	}
}

func (b *upstreamBody) next() ([]byte, time.Time, error) {
	if part := b.held; part != nil {
		b.held, b.at = nil, b.v.now()
		b.writing(b.at)
		return part, time.Time{}, b.err
	}
	if b.err != nil {
		return nil, time.Time{}, b.err
	}
	if b.buf == nil {
		b.buf = b.pooled.take(b.resp.Length)
	} else {
		b.buf = b.pooled.grown(b.buf, b.last)
	}
	v := b.v
	var before time.Time
	if !b.arrived {
		before = v.now()
	}
	n, err := b.resp.Body.Read(b.buf)
	b.last = n
	now := v.now()
	if b.at = now; !b.arrived {
		v.upstream += now.Sub(before)
	}
	b.writing(now)
	b.arrived = false
	b.noted(b.buf[:n], err, now)
	return b.buf[:n], time.Time{}, err
}

func (b *upstreamBody) close() {
	if b.err == nil && b.resp.Switched == nil {
		b.v.x.Response.Body.CutShort = true // we broke off
	}
	_ = b.resp.Body.Close() // what it tells was told by Read
	if b.resp.Switched != nil {
		_ = b.resp.Switched.Close()
	}
	b.pooled.free()
	b.buf = nil
	if b.abandon != nil {
		b.abandon()
	}
}

// upstreamFailed answers in the place of an upstream that did not.
func (v *visit) upstreamFailed(ctx context.Context, err error) (*answer, error) {
	if ctx.Err() != nil {
		return nil, v.clientError(fmt.Errorf("the client left while the upstream worked: %w", err))
	}
	if v.body != nil {
		if rerr := v.body.failed(); rerr != nil {
			return nil, v.clientError(rerr)
		}
	}
	v.x.Outcome, v.x.Error = fixtures.OutcomeUpstream, err.Error()
	v.p.o.Log.Warn("upstream", zap.Error(err), zap.String("method", v.x.Request.Method), zap.String("host", v.x.Request.Host))
	if v.unreached(err) {
		_ = v.w.Break(wire.Break{Kind: wire.Reset}) // what can still be told of it
		return nil, err
	}
	// What is recorded is that no answer came.
	return v.substitute(problem(upstreamStatus(err), "upstream "+v.x.Request.Host+" did not answer", err.Error(), nil)), nil
}

// unreached reports whether the client is to see what it would see without us: a
// connection that is refused, as nearly as one can be that was accepted.
func (v *visit) unreached(err error) bool {
	if !v.x.Wire.Transparent {
		return false
	}
	e, ok := errors.AsType[*wire.UpstreamError](err)
	return ok && (e.Op == "dial" || e.Op == "resolve")
}

// substitute makes an answer in our own words that stays off the record.
func (v *visit) substitute(f *fixtures.Fault) *answer {
	a := v.words(f)
	a.instead = true
	return a
}

// upstreamStatus is the status that stands for an upstream's failure.
func upstreamStatus(err error) int {
	var timeout interface{ Timeout() bool }
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout() {
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

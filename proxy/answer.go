package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// answer is a response on its way to the client, whoever gave it.
type answer struct {
	head     wire.Head
	firstDue time.Time // when its first byte is due; not after now for one that has come
	paced    bool      // firstDue is by the pace of a recording, or a stub's delay
	// informs are interim responses still to be sent, relative to base.
	informs []fixtures.Informational
	base    time.Time
	// turn says when a recorded answer is due that waits for others; nil for one that does
	// not. Its recorded times count from base, its first byte came at first: until settled
	// is set both moments are estimates, see settle. Whoever sets close leaves it there.
	turn    fixtures.Turn
	settled bool
	first   time.Duration
	// next returns the next part of the body and when it is due, the zero time
	// for at once. The part is valid until the next call and must not be
	// changed. It ends with io.EOF; a part may come with it.
	next    func() (part []byte, due time.Time, err error)
	trailer func() fixtures.Header
	fault   *fixtures.Fault // a stub's own; nil for none
	// live is set for an answer from upstream: its bytes go to the tape, and waiting for
	// them is the upstream's time.
	live bool
	// ours is set for an answer in our own words, a fault's among them.
	ours bool
	// instead is set where it takes the place of one that came, which stays on record.
	instead bool
	// detach lets the upstream go on when the client leaves; abandon ends it. nil where
	// the upstream ends with the client.
	detach, abandon func()
	switched        net.Conn // the upstream's connection after a 101; else nil
	close           func()
}

func nothing() {}

// answer finds who answers: a cassette or stub, or the upstream. An error is
// an exchange that has already been ended towards the client.
func (v *visit) answer(ctx context.Context) (*answer, error) {
	o := &v.p.o
	if o.Responder != nil {
		v.turn(fixtures.StageAnswer, v.now())
		found, err := o.Responder.Respond(v.x)
		if err == nil {
			return v.play(found)
		}
		miss, ok := errors.AsType[*fixtures.MissError](err)
		if !ok {
			return v.unplayable(err), nil
		}
		v.x.Miss = miss
		if o.OnMiss == MissFail || o.Upstream == nil {
			shown := discreet(&v.x.Request, miss)
			o.Log.Warn("miss", zap.Error(shown))
			v.x.Outcome, v.x.Error = fixtures.OutcomeMiss, shown.Error()
			return v.speak(missProblem(miss, shown)), nil
		}
		if e := o.Log.Check(zap.InfoLevel, "miss, forwarded"); e != nil {
			e.Write(zap.Error(discreet(&v.x.Request, miss)))
		}
	}
	if o.Upstream == nil {
		const why = "no cassette and no upstream"
		v.x.Outcome, v.x.Error = fixtures.OutcomeMiss, why
		return v.speak(problem(http.StatusBadGateway, "nobody to answer", why, nil)), nil
	}
	if o.Recorder != nil && (o.Responder == nil || o.OnMiss == MissRecord) {
		v.record()
	}
	return v.roundTrip(ctx)
}

// unplayable answers in the place of a stub that cannot.
func (v *visit) unplayable(err error) *answer {
	v.p.o.Log.Error("stub cannot answer", zap.Error(err), zap.String("method", v.x.Request.Method),
		zap.String("host", v.x.Request.Host), zap.String("path", v.x.Request.Path()))
	v.x.Outcome, v.x.Error = fixtures.OutcomeMiss, err.Error()
	return v.speak(problem(http.StatusInternalServerError, "stub cannot answer", err.Error(), nil))
}

// record starts the tape.
func (v *visit) record() {
	to := v.p.o.Recorder.Begin(v.x)
	if to == nil {
		return
	}
	v.x.Recording = true
	v.taping.to = to
	v.tape = &v.taping
	if v.body != nil {
		v.body.record(v.tape)
	}
}

// speak makes an answer in our own words the exchange's response.
func (v *visit) speak(f *fixtures.Fault) *answer {
	v.x.Response = fixtures.Response{Proto: v.r.Proto, Status: f.Status, Reason: f.Reason, Header: f.Header}
	return v.words(f)
}

// words makes an answer in our own words. It is due at once, or when the rules
// let the request go.
func (v *visit) words(f *fixtures.Fault) *answer {
	due := v.ready
	if due.IsZero() {
		due = v.now()
	}
	return &answer{
		head:     wire.Head{Status: f.Status, Reason: f.Reason, Header: f.Header, Length: int64(len(f.Body))},
		firstDue: due,
		next:     func() ([]byte, time.Time, error) { return f.Body, time.Time{}, io.EOF },
		ours:     true,
		close:    nothing,
	}
}

package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

var errLeft = errors.New("the client left while its answer was held")

// wait sleeps until at and books the time to whom it belongs. It returns an
// error when the client leaves or ctx ends.
func (v *visit) wait(ctx context.Context, at time.Time, book *time.Duration) error {
	_, err := v.sleep(ctx, at, book, timing.SleepUntil)
	return err
}

// sleeper is timing.SleepUntil, or a Lead's.
type sleeper = func(ctx context.Context, gone <-chan struct{}, at time.Time) error

// sleep is wait by one of timing's ways to. It tells whether there was anything to
// wait for.
func (v *visit) sleep(ctx context.Context, at time.Time, book *time.Duration, until sleeper) (slept bool, err error) {
	if !at.After(v.start) {
		return false, nil // long past: the clock need not be asked
	}
	now := v.now()
	v.late.woke = now
	if !at.After(now) {
		return false, nil
	}
	v.watch()
	v.exact()
	err = until(ctx, nil, at)
	v.late.woke = v.now()
	*book += v.late.woke.Sub(now)
	if err != nil {
		v.x.Outcome = fixtures.OutcomeClient
		return true, errLeft
	}
	return true, nil
}

// lateness is how well the delays were kept that an answer's beginning was asked
// to have.
type lateness struct {
	asked bool
	by    time.Duration // what the client waited beyond them; negative is early
	woke  time.Time     // when the last wait ended, or was found to be past

	// moment is when the answer's first byte is to be handed over, by the last of the
	// delays; zero where there is none, or once it was.
	moment time.Time
	book   *time.Duration  // whose the wait for it is; nil where it was past
	near   bool            // the wait so far was timing.Near
	ctx    context.Context // of the wait
	before time.Duration   // what the client waited beyond the delays that it counts from
}

// delay is wait where a delay of the answer's beginning was asked for, and notes
// how well it was kept.
func (v *visit) delay(ctx context.Context, at time.Time, book *time.Duration) error {
	if !at.After(v.start) {
		return nil // the request was long in coming
	}
	if err := v.wait(ctx, at, book); err != nil {
		return err
	}
	v.late.asked, v.late.by = true, v.late.woke.Sub(at)
	return nil
}

// appoint is delay for the last of them. It ends early, so that the answer can be made
// ready: meet waits for the moment itself, or keep. It is further where at counts from
// the end of the delay before, whose error is then part of its own.
func (v *visit) appoint(ctx context.Context, at time.Time, book *time.Duration, further bool) error {
	if !at.After(v.start) {
		return nil
	}
	until := v.p.lead.SleepUntil
	near := v.early()
	if near {
		until = timing.Near
	}
	slept, err := v.sleep(ctx, at, book, until)
	if err != nil {
		return err
	}
	l := &v.late
	l.asked, l.moment, l.book, l.near, l.ctx = true, at, nil, near, ctx
	if slept {
		l.book = book
	}
	if !further {
		l.by = 0
	}
	l.before = l.by
	return nil
}

// early is whether an answer may be made ready long before its moment: not where that
// tells of waits that are to be over by then, or begins to count its body's time.
func (v *visit) early() bool {
	if _, ok := v.w.(wire.Punctual); !ok || v.p.o.ServerTiming || v.x.Plan.Fault != nil {
		return false
	}
	b := newBend(&v.x.Plan, -1)
	return b.idle()
}

// meet returns once the answer's first byte may be handed over, all that could be
// made ready before being so, or with the reason why nobody waits for it any more.
// Whatever gives the client something calls it first.
func (v *visit) meet() error {
	l := &v.late
	if l.moment.IsZero() {
		return nil
	}
	now := v.now()
	switch {
	case l.book == nil:
	case !l.near:
		now = v.met(now, v.p.lead.Meet(l.woke, l.moment))
	case timing.SleepUntil(l.ctx, nil, l.moment) != nil:
		return v.left(now)
	default:
		now = v.met(now, v.now())
	}
	l.by = l.before + now.Sub(l.moment)
	l.moment = time.Time{}
	return nil
}

// met books the wait for the moment.
func (v *visit) met(from, until time.Time) time.Time {
	*v.late.book += until.Sub(from)
	return until
}

// left is met where the client left before the moment.
func (v *visit) left(from time.Time) error {
	v.met(from, v.now())
	v.late.moment = time.Time{} // nothing is due any more
	v.x.Outcome = fixtures.OutcomeClient
	if t := &v.x.Times; !v.ans.live { // noted for a moment that did not come
		t.FirstByte, t.End, v.x.Response.Body.Size = 0, 0, 0
	}
	return errLeft
}

// keep has the clock call post at the moment: see wire.Punctual. What the connection does
// not take at once, as where the client has not read the answers before, is sent after it
// and in no books.
func (v *visit) keep(post func()) error {
	l, from := &v.late, v.now()
	began, over, err := timing.Do(l.ctx, l.moment, post)
	if err != nil {
		return v.left(from)
	}
	v.met(from, began)
	l.by = l.before + began.Sub(l.moment)
	l.moment = time.Time{}
	v.served = over
	t, end := &v.x.Times, over.Sub(v.start) // noted with the moment, and it went out a little before
	t.FirstByte, t.End = min(t.FirstByte, end), min(t.End, end)
	return nil
}

// handedOver is when what is ready now goes out, as nearly as can be told.
func (v *visit) handedOver(now time.Time) time.Time {
	if now.Before(v.late.moment) {
		return v.late.moment
	}
	return now
}

// over notes the end of an answer that is not the upstream's. It may go out a little
// before the moment that it is noted with: see keep.
func (v *visit) over(now time.Time) {
	t := &v.x.Times
	t.End = max(v.handedOver(now).Sub(v.start), t.FirstByte)
}

// exact has the times of requests to come be those at which their bytes came in,
// on this connection and later ones: a delay counts from there, so that the time
// which the machine took to wake us is not added to it. Without delays nobody
// needs to know, and it costs the kernel some work.
func (v *visit) exact() {
	if ask := v.x.Wire.Exact; ask != nil {
		ask()
	}
	if !v.p.waits.Load() {
		v.p.waits.Store(true)
	}
}

// pause is wait within an answer: what was written goes out first.
func (v *visit) pause(ctx context.Context, at time.Time, book *time.Duration) error {
	if !at.After(v.start) || !at.After(v.late.moment) || !at.After(v.now()) {
		return nil
	}
	if err := v.flush(); err != nil {
		return err
	}
	return v.wait(ctx, at, book)
}

// watch has the engine look out for the client's leaving, which ends the
// request's context. While the body is being read its reader notices instead.
func (v *visit) watch() {
	if v.sends {
		if _, ended := v.body.ended(); !ended {
			return
		}
	}
	v.w.Watch()
}

// slowWrite is from where a write counts as the client's time: one that the
// kernel takes at once is a matter of microseconds, one that takes longer
// was waiting for the client to read.
const slowWrite = time.Millisecond

func (v *visit) wrote(begin time.Time) {
	v.booked(begin, v.now())
}

func (v *visit) booked(begin, end time.Time) {
	if d := end.Sub(begin); d >= slowWrite {
		v.client += d
	}
}

// write, flush and end are the response writer's, with their time booked.
func (v *visit) write(p []byte) error {
	if err := v.meet(); err != nil {
		return err
	}
	begin := v.now()
	_, err := v.w.Write(p)
	v.wrote(begin)
	return err
}

func (v *visit) flush() error {
	if err := v.meet(); err != nil {
		return err
	}
	begin := v.now()
	err := v.w.Flush()
	v.wrote(begin)
	return err
}

// endWith writes the last part of an answer, which came at begin, and ends it. The part
// may be empty.
func (v *visit) endWith(part []byte, begin time.Time, trailer fixtures.Header) error {
	if l := &v.late; !l.moment.IsZero() {
		if w, ok := v.w.(wire.Punctual); ok && l.near && l.book != nil {
			if taken, err := w.FinishBy(part, trailer, v.bound.keep); taken {
				return err
			}
		}
		if err := v.meet(); err != nil {
			return err
		}
		begin = v.now()
	}
	err := error(nil)
	if len(part) > 0 {
		_, err = v.w.Write(part)
	}
	if err == nil {
		err = v.w.Finish(trailer)
	}
	v.served = v.now()
	v.booked(begin, v.served)
	return err
}

func (v *visit) end(trailer fixtures.Header) error { return v.endWith(nil, v.now(), trailer) }

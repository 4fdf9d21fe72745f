package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
)

var errLeft = errors.New("the client left while its answer was held")

// wait sleeps until at and books the time to whom it belongs. It returns an
// error when the client leaves or ctx ends.
func (v *visit) wait(ctx context.Context, at time.Time, book *time.Duration) error {
	if !at.After(v.start) {
		return nil // long past: the clock need not be asked
	}
	now := v.now()
	v.late.woke = now
	if !at.After(now) {
		return nil
	}
	v.watch()
	v.exact()
	err := timing.SleepUntil(ctx, nil, at)
	v.late.woke = v.now()
	*book += v.late.woke.Sub(now)
	if err != nil {
		v.x.Outcome = fixtures.OutcomeClient
		return errLeft
	}
	return nil
}

// lateness is how well the delays were kept that an answer's beginning was asked
// to have.
type lateness struct {
	asked bool
	by    time.Duration // what the client waited beyond them; negative is early
	woke  time.Time     // when the last wait ended, or was found to be past
}

// delay is wait where a delay of the answer's beginning was asked for, and notes
// how well it was kept. It is further where at counts from the end of the delay
// before, whose error is then part of it.
func (v *visit) delay(ctx context.Context, at time.Time, book *time.Duration, further bool) error {
	if !at.After(v.start) {
		return nil // the request was long in coming
	}
	if err := v.wait(ctx, at, book); err != nil {
		return err
	}
	by := v.late.woke.Sub(at)
	if further {
		by += v.late.by
	}
	v.late.asked, v.late.by = true, by
	return nil
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
	if !at.After(v.start) || !at.After(v.now()) {
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
	begin := v.now()
	_, err := v.w.Write(p)
	v.wrote(begin)
	return err
}

func (v *visit) flush() error {
	begin := v.now()
	err := v.w.Flush()
	v.wrote(begin)
	return err
}

// endWith writes the last part of an answer, which came at begin, and ends it.
func (v *visit) endWith(part []byte, begin time.Time, trailer fixtures.Header) error {
	_, err := v.w.Write(part)
	if err == nil {
		err = v.w.Finish(trailer)
	}
	v.served = v.now()
	v.booked(begin, v.served)
	return err
}

func (v *visit) end(trailer fixtures.Header) error {
	begin := v.now()
	err := v.w.Finish(trailer)
	v.served = v.now()
	v.booked(begin, v.served)
	return err
}

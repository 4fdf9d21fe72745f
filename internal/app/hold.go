package app

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/timeline"
)

// held keeps a link to its timeline, on the run's clock.
type held struct {
	link  inForce
	start time.Time // zero of the run's clock
	plan  *atomic.Pointer[timeline.Timeline]
	isNew <-chan struct{} // plan was replaced
	tell  func(change)

	mu     sync.Mutex
	now    timeline.State // in force
	passed []passage      // in the order in which they first came
}

// change is something that happened on a link's timeline.
type change struct {
	at    time.Duration // on the run's clock
	step  string        // "" for a new plan
	phase phase
	state timeline.State
}

// phase is what happened to a step.
type phase string

const (
	stepBegins   phase = "begins"
	stepFull     phase = "full" // it has come on its ramp
	stepFades    phase = "fades"
	stepEnds     phase = "ends"
	planReplaced phase = "replaced" // the whole timeline, by a saved one
)

// passage is a step that came to pass.
type passage struct {
	Name    string  `json:"name"`
	Times   int     `json:"times"`
	FirstAt float64 `json:"first_at"` // seconds on the run's clock
	Seconds float64 `json:"seconds"`  // in all

	since time.Duration // of the present time; -1 while it does not last
}

// first is what the timeline has now, for note, and what of it to put in force before
// anything else. A direction that has conditions only later is shaped from the start all
// the same: what cannot be shaped is to be known before the command runs.
func (h *held) first() (link shaping.Link, state timeline.State, now time.Duration) {
	plan := h.plan.Load()
	now = time.Since(h.start)
	state = plan.At(now)
	link = state.Link
	for _, d := range directions {
		if c := link.Of(d); c.IsZero() && plan.Touches(d) {
			*c, _ = c.Resolve() // what holds a packet no longer than nothing at all
		}
	}
	return link, state, now
}

// run changes the link as the timeline says until ctx ends, and then returns nil. It
// returns the error of a change that could not be made.
func (h *held) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	plan := h.plan.Load()
	for {
		now := time.Since(h.start)
		latest := h.plan.Load()
		state := latest.At(now)
		if err := h.hold(ctx, state, now, latest != plan); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("link at %v: %w", now.Round(time.Millisecond), err)
		}
		plan = latest
		var due <-chan time.Time
		if next, ok := plan.Next(now); ok {
			timer.Reset(next - time.Since(h.start))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-h.isNew:
		case <-due:
		}
	}
}

// hold puts a state in force, and tells what that changes.
func (h *held) hold(ctx context.Context, state timeline.State, now time.Duration, isNew bool) error {
	if now := h.current(); !state.Same(&now) {
		if err := h.link.Change(ctx, state.Link, state.Classes...); err != nil {
			return err
		}
	}
	if isNew {
		h.tell(change{now, "", planReplaced, state})
	}
	h.note(state, now)
	return nil
}

// note keeps the state, and tells of steps that come and go.
func (h *held) note(state timeline.State, now time.Duration) {
	h.mu.Lock()
	var changes []change
	before := map[string]float64{}
	for _, s := range h.now.Steps {
		before[s.Name] = s.Weight
	}
	after := map[string]bool{}
	for _, s := range state.Steps {
		after[s.Name] = true
		was, lasted := before[s.Name]
		switch {
		case !lasted:
			h.began(s.Name, now)
			changes = append(changes, change{now, s.Name, stepBegins, state})
		case was < 1 && s.Weight == 1:
			changes = append(changes, change{now, s.Name, stepFull, state})
		case was == 1 && s.Weight < 1:
			changes = append(changes, change{now, s.Name, stepFades, state})
		}
	}
	for _, s := range h.now.Steps {
		if !after[s.Name] {
			h.ended(s.Name, now)
			changes = append(changes, change{now, s.Name, stepEnds, state})
		}
	}
	h.now = state
	h.mu.Unlock()
	for _, c := range changes {
		h.tell(c)
	}
}

func (h *held) began(name string, now time.Duration) {
	for i := range h.passed {
		if p := &h.passed[i]; p.Name == name {
			p.Times++
			p.since = now
			return
		}
	}
	h.passed = append(h.passed, passage{Name: name, Times: 1, FirstAt: now.Seconds(), since: now})
}

func (h *held) ended(name string, now time.Duration) {
	for i := range h.passed {
		if p := &h.passed[i]; p.Name == name {
			p.Seconds += (now - p.since).Seconds()
			p.since = -1
		}
	}
}

// end counts the steps that last as ended.
func (h *held) end() {
	now := time.Since(h.start)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.now.Steps {
		h.ended(s.Name, now)
	}
	h.now.Steps = nil
}

// current is what is in force.
func (h *held) current() timeline.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// passages are the steps that came to pass, in the order in which they first came.
func (h *held) passages() []passage {
	now := time.Since(h.start)
	h.mu.Lock()
	defer h.mu.Unlock()
	all := append([]passage{}, h.passed...)
	for i := range all {
		if p := &all[i]; p.since >= 0 {
			p.Seconds += (now - p.since).Seconds()
		}
	}
	return all
}

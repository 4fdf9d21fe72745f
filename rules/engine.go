package rules

import (
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// Input is what a decision is made from.
type Input struct {
	Request  *fixtures.Request  // never nil
	Body     []byte             // the request's, where NeedsBody asked for it
	Response *fixtures.Response // the head, for PlanResponse
	TTFB     time.Duration      // request sent to first response byte, for PlanResponse

	Client   string        // the client's address without its port
	Door     string        // the listener it came through
	InFlight int           // exchanges open, this one included
	Rate     float64       // requests per second over the last second
	Elapsed  time.Duration // on the run's clock
}

// Engine decides by the current Set. It is safe for use by many goroutines;
// a decision sees one Set from beginning to end.
type Engine struct {
	seed    uint64
	onError func(rule string, err error)
	off     atomic.Bool
	live    atomic.Pointer[live]
	swap    sync.Mutex // one Swap or SetEnabled at a time
	seen    occurrences
	calls   recent
	asked   resolutions
}

// live is a Set with its rules' states, by position.
type live struct {
	set    *Set
	states []*state
}

// state is what a rule remembers. It survives a reload by the rule's name.
type state struct {
	off      atomic.Bool
	matched  atomic.Uint64
	fired    atomic.Uint64
	errors   atomic.Uint64
	reported atomic.Bool
}

// NewEngine returns an engine without rules, whose draws all come from seed: equal
// requests in equal order are decided equally. onError, which may be nil, is told
// once per rule and version of it when its expression goes wrong at run time;
// such an evaluation counts as no match. It is called on the request's way and
// must not block.
func NewEngine(seed uint64, onError func(rule string, err error)) *Engine {
	if onError == nil {
		onError = func(string, error) {}
	}
	e := &Engine{seed: seed, onError: onError}
	e.live.Store(&live{set: newEmptySet()})
	return e
}

func newEmptySet() *Set {
	s := &Set{}
	s.build(nil)
	return s
}

// Change says how a Set differs from the one before it.
type Change struct {
	Added, Changed, Removed []string // names of rules, in order
}

// Swap puts s in the place of the current Set. Counters and switches of rules
// whose names stay are kept; where the file's own enabled key changed, it wins.
func (e *Engine) Swap(s *Set) Change {
	if s == nil || s.index == nil {
		s = newEmptySet()
	}
	e.swap.Lock()
	defer e.swap.Unlock()
	type old struct {
		*rule
		*state
	}
	before := e.live.Load()
	olds := map[string]old{}
	for i, u := range before.set.rules {
		olds[u.name] = old{u, before.states[i]}
	}
	var c Change
	next := &live{set: s, states: make([]*state, len(s.rules))}
	for i, u := range s.rules {
		o, kept := olds[u.name]
		delete(olds, u.name)
		st := o.state
		if !kept {
			c.Added = append(c.Added, u.name)
			st = &state{}
		} else if o.digest != u.digest {
			c.Changed = append(c.Changed, u.name)
			st.reported.Store(false)
		}
		if !kept || o.enabled != u.enabled {
			st.off.Store(!u.enabled)
		}
		next.states[i] = st
	}
	for _, u := range before.set.rules {
		if _, gone := olds[u.name]; gone {
			c.Removed = append(c.Removed, u.name)
		}
	}
	e.live.Store(next)
	return c
}

// Set returns the current Set.
func (e *Engine) Set() *Set { return e.live.Load().set }

// NeedsBody reports whether a rule that may apply to a request reads its body.
func (e *Engine) NeedsBody(r *fixtures.Request) bool {
	l := e.live.Load()
	if e.off.Load() || !slices.ContainsFunc(l.set.bodies, func(w uint64) bool { return w != 0 }) {
		return false
	}
	c := l.set.index.find(r.Method, hostOf(r.Host), r.Path())
	for i, mask := range l.set.bodies {
		for w := c.word(i) & mask; w != 0; w &= w - 1 {
			if !l.states[i*64+bits.TrailingZeros64(w)].off.Load() {
				return true
			}
		}
	}
	return false
}

// Plan decides at a request's head. It is called once an exchange.
func (e *Engine) Plan(in *Input) fixtures.Plan {
	identity := requestIdentity(in.Request)
	p := fixtures.Plan{Draw: timing.Mix(e.seed, identity, e.seen.next(identity))}
	l := e.live.Load()
	if e.off.Load() || len(l.set.rules) == 0 {
		return p
	}
	s := scopeFor(in)
	defer s.release()
	c := l.set.index.find(in.Request.Method, s.host, s.path)
	end := l.pass(e, s, c, l.set.requests, len(l.set.rules), &p)
	p.NeedsResponse = l.any(c, l.set.responses, end)
	return p
}

// PlanResponse adds to p, which Plan returned, what the response's head decides.
func (e *Engine) PlanResponse(in *Input, p fixtures.Plan) fixtures.Plan {
	l := e.live.Load()
	p.NeedsResponse = false
	if e.off.Load() || in.Response == nil || len(l.set.rules) == 0 {
		return p
	}
	end := len(l.set.rules)
	for i, u := range l.set.rules {
		if u.stop && slices.Contains(p.Fired, u.name) {
			end = i
			break
		}
	}
	s := scopeFor(in)
	defer s.release()
	// What Plan returned may be in use elsewhere: what is appended is our own.
	p.Fired, p.EditRequest, p.EditResponse = slices.Clip(p.Fired), slices.Clip(p.EditRequest), slices.Clip(p.EditResponse)
	l.pass(e, s, l.set.index.find(in.Request.Method, s.host, s.path), l.set.responses, end, &p)
	return p
}

// pass applies the candidates in mask in order, up to end, or up to a rule that
// fires and stops the evaluation. It returns where it came to.
func (l *live) pass(e *Engine, s *scope, c candidates, mask []uint64, end int, p *fixtures.Plan) int {
	for i := range mask {
		for w := c.word(i) & mask[i]; w != 0; w &= w - 1 {
			at := i*64 + bits.TrailingZeros64(w)
			if at >= end {
				return end
			}
			u := l.set.rules[at]
			if e.decide(u, l.states[at], s, p.Draw, func() bool { return u.effects.contribute(p) || u.stop }) {
				e.apply(u, l.states[at], s, p)
				if u.stop {
					return at
				}
			}
		}
	}
	return end
}

// any reports whether a rule in mask before end may still apply.
func (l *live) any(c candidates, mask []uint64, end int) bool {
	for i := range mask {
		for w := c.word(i) & mask[i]; w != 0; w &= w - 1 {
			at := i*64 + bits.TrailingZeros64(w)
			if at < end && !l.states[at].off.Load() {
				return true
			}
		}
	}
	return false
}

// decide settles whether a rule fires. useful says whether it would change
// anything; a rule that would not does not fire, and keeps its count.
func (e *Engine) decide(u *rule, st *state, s *scope, exchange uint64, useful func() bool) bool {
	if st.off.Load() || !within(u.during, s.in.Elapsed) {
		return false
	}
	if u.when != nil {
		s.begin(st.matched.Load(), draws{exchange: exchange, rule: u.seed, what: decidesWhen})
		matches, err := u.when.holds(s)
		if err != nil {
			e.failed(u, st, fmt.Errorf("when: %w", err))
			return false
		}
		if !matches {
			return false
		}
	}
	nth := st.matched.Add(1)
	if u.every > 1 && nth%u.every != 0 {
		return false
	}
	if u.chance < 1 && timing.Unit(u.seedFor(exchange, decidesChance)) >= u.chance {
		return false
	}
	if !useful() {
		return false
	}
	if u.count == 0 {
		st.fired.Add(1)
		return true
	}
	for {
		fired := st.fired.Load()
		if fired >= u.count {
			return false
		}
		if st.fired.CompareAndSwap(fired, fired+1) {
			return true
		}
	}
}

func (e *Engine) failed(u *rule, st *state, err error) {
	st.errors.Add(1)
	if st.reported.CompareAndSwap(false, true) {
		e.onError(u.name, fmt.Errorf("%s: rule %q: %w", u.place, u.name, err))
	}
}

// contribute reports whether the effects change p at all: a fault changes
// nothing where an earlier one stands.
func (e *effects) contribute(p *fixtures.Plan) bool {
	return e.link != "" || e.holdRequest != nil || e.holdFirstByte != nil || e.holdTotal != nil || len(e.editRequest) > 0 || len(e.editResponse) > 0 ||
		e.throttle > 0 && (p.BytesPerSecond == 0 || e.throttle < p.BytesPerSecond) ||
		e.drip != nil && p.Drip == nil || e.fault != nil && p.Fault == nil
}

// apply adds a rule's effects to p: delays add up, but the longest total, the
// lowest throttle, the first drip, the first fault and the last link count, edits follow
// each other.
func (e *Engine) apply(u *rule, st *state, s *scope, p *fixtures.Plan) {
	f := &u.effects
	if len(p.Fired) == 0 {
		p.Fired = u.alone // saves an allocation an exchange (TestPlanAllocatesNothing)
	} else {
		p.Fired = append(p.Fired, u.name)
	}
	p.HoldRequest += e.hold(f.holdRequest, u, st, s, p.Draw, decidesHoldRequest)
	p.HoldFirstByte += e.hold(f.holdFirstByte, u, st, s, p.Draw, decidesHoldFirstByte)
	p.HoldTotal = max(p.HoldTotal, e.hold(f.holdTotal, u, st, s, p.Draw, decidesHoldTotal))
	if f.throttle > 0 && (p.BytesPerSecond == 0 || f.throttle < p.BytesPerSecond) {
		p.BytesPerSecond = f.throttle
	}
	if f.drip != nil && p.Drip == nil {
		p.Drip = f.drip
	}
	if f.link != "" {
		p.Link = f.link
	}
	p.EditRequest = appendShared(p.EditRequest, f.editRequest)
	p.EditResponse = appendShared(p.EditResponse, f.editResponse)
	if f.fault == nil || p.Fault != nil {
		return
	}
	p.Fault = f.fault
	if f.fault.Kind == fixtures.FaultCorrupt {
		own := *f.fault
		own.Seed = u.seedFor(p.Draw, decidesCorrupt)
		p.Fault = &own
	}
}

// appendShared spares the copy where there is nothing to append to.
func appendShared(to, edits []fixtures.Edit) []fixtures.Edit {
	if len(to) == 0 {
		return slices.Clip(edits)
	}
	return append(to, edits...)
}

func (e *Engine) hold(a *amount, u *rule, st *state, s *scope, exchange, what uint64) time.Duration {
	if a == nil {
		return 0
	}
	s.begin(st.matched.Load(), draws{exchange: exchange, rule: u.seed, what: what})
	d, err := a.value(s)
	if err != nil {
		e.failed(u, st, fmt.Errorf("delay: %w", err))
		return 0
	}
	return d
}

package rules

import (
	"slices"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// Lookup is a question for a name, before there is a connection.
type Lookup struct {
	Name    string        // lower case, without the final dot
	Type    uint16        // of the record that is asked for, as DNS counts
	Elapsed time.Duration // on the run's clock
}

// Resolve decides what becomes of a question. Those for several types of one name
// that come together are one resolution and share its decision: a client that asks
// for A and AAAA must not be told that the name exists and that it does not.
func (e *Engine) Resolve(q *Lookup) fixtures.NamePlan {
	// The lock makes the first question decide for the others; names are few.
	e.asked.mu.Lock()
	defer e.asked.mu.Unlock()
	if p, ok := e.asked.join(q); ok {
		p.Again = true
		return p
	}
	p := e.resolve(q)
	e.asked.note(q, p)
	return p
}

func (e *Engine) resolve(q *Lookup) (p fixtures.NamePlan) {
	l := e.live.Load()
	if e.off.Load() || len(l.set.names) == 0 {
		return p
	}
	s := scopeFor(&Input{Request: &fixtures.Request{}, Elapsed: q.Elapsed})
	defer s.release()
	s.name = q.Name
	identity := nameIdentity(q.Name)
	draw := timing.Mix(e.seed, identity, e.seen.next(identity))
	for _, i := range l.set.names {
		u, st := l.set.rules[i], l.states[i]
		f := &u.effects
		useful := func() bool {
			return f.holdRequest != nil || f.name != fixtures.NameResolves && p.Fault == fixtures.NameResolves || u.stop
		}
		if !e.decide(u, st, s, draw, useful) {
			continue
		}
		p.Fired = append(p.Fired, u.name)
		p.Hold += e.hold(f.holdRequest, u, st, s, draw, decidesHoldRequest)
		if p.Fault == fixtures.NameResolves {
			p.Fault = f.name
		}
		if u.stop {
			break
		}
	}
	return p
}

const (
	// together is how far apart the questions of one resolution may come. A client
	// that hears nothing asks for the same type again after 5 s or so: then it is
	// another one in any case.
	together = 5 * time.Second
	// resolutionsKept bounds how many names are remembered for that.
	resolutionsKept = 4096
)

// resolutions remembers for each name what was decided last.
type resolutions struct {
	mu     sync.Mutex
	byName map[string]*resolution
}

type resolution struct {
	at    time.Duration
	types []uint16 // that were asked for
	plan  fixtures.NamePlan
}

// join takes q for a question of the latest resolution of its name if it is one.
func (r *resolutions) join(q *Lookup) (fixtures.NamePlan, bool) {
	last := r.byName[q.Name]
	if last == nil || q.Elapsed-last.at > together || slices.Contains(last.types, q.Type) {
		return fixtures.NamePlan{}, false
	}
	last.types = append(last.types, q.Type)
	return last.plan, true
}

func (r *resolutions) note(q *Lookup, p fixtures.NamePlan) {
	if len(r.byName) >= resolutionsKept {
		clear(r.byName)
	}
	if r.byName == nil {
		r.byName = map[string]*resolution{}
	}
	r.byName[q.Name] = &resolution{at: q.Elapsed, types: []uint16{q.Type}, plan: p}
}

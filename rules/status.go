package rules

import "fmt"

// Status is what became of a rule so far.
type Status struct {
	Name    string `json:"name"`
	Place   string `json:"place"`   // file:line
	Enabled bool   `json:"enabled"` // and not switched off with all others
	Matched uint64 `json:"matched"` // its condition held
	Fired   uint64 `json:"fired"`   // it changed an answer
	Errors  uint64 `json:"errors"`  // its expressions went wrong
}

// Rules returns the state of each rule, in order.
func (e *Engine) Rules() []Status {
	l := e.live.Load()
	all := make([]Status, len(l.set.rules))
	for i, u := range l.set.rules {
		st := l.states[i]
		all[i] = Status{u.name, u.place, !st.off.Load() && !e.off.Load(), st.matched.Load(), st.fired.Load(), st.errors.Load()}
	}
	return all
}

// SetEnabled switches one rule on or off, until it is switched again or its
// enabled key changes in the file. Its error says that there is no such rule.
func (e *Engine) SetEnabled(name string, on bool) error {
	e.swap.Lock()
	defer e.swap.Unlock()
	l := e.live.Load()
	for i, u := range l.set.rules {
		if u.name == name {
			l.states[i].off.Store(!on)
			return nil
		}
	}
	return fmt.Errorf("switch rule %q: there is no such rule", name)
}

// SetAllEnabled turns all chaos off, rules that are loaded later included, or
// back on: each rule then has its own switch again.
func (e *Engine) SetAllEnabled(on bool) { e.off.Store(!on) }

// AllEnabled reports what SetAllEnabled said last; true at first.
func (e *Engine) AllEnabled() bool { return !e.off.Load() }

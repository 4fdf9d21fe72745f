package upstream

import (
	"sync"
	"time"
)

// rounds looks after connections now and then. Its one timer runs only while there are
// some.
type rounds struct {
	mu    sync.Mutex
	timer *time.Timer
	again bool // there is something since the last round began
	over  bool
}

// begin has look called each time that every has passed, as long as it returns true, and
// once more after each call of begin.
func (r *rounds) begin(every time.Duration, look func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.again = true
	if r.timer != nil || r.over {
		return
	}
	r.timer = time.AfterFunc(every, func() {
		r.mu.Lock()
		r.again = false
		r.mu.Unlock()
		more := look()
		r.mu.Lock()
		defer r.mu.Unlock()
		if (more || r.again) && !r.over {
			r.timer.Reset(every)
		} else {
			r.timer = nil
		}
	})
}

// end lets no further round begin.
func (r *rounds) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.timer != nil {
		r.timer.Stop()
	}
}

package rules

import (
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// within reports whether at lies in one of the spans; without spans it always does.
func within(spans []timing.Span, at time.Duration) bool {
	for _, s := range spans {
		if s.Holds(at) {
			return true
		}
	}
	return len(spans) == 0
}

package rules

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// span is a stretch of the run's clock, from inclusive, to exclusive.
type span struct{ from, to time.Duration }

// parseSpan reads "2m..3m", "30s.." or "..1m".
func parseSpan(text string) (span, error) {
	bad := fmt.Errorf("want a range of times such as 2m..3m, 30s.. or ..1m, got %q", text)
	from, to, found := strings.Cut(text, "..")
	from, to = strings.TrimSpace(from), strings.TrimSpace(to)
	if !found || from == "" && to == "" {
		return span{}, bad
	}
	s := span{0, math.MaxInt64}
	var err error
	if from != "" {
		if s.from, err = parseDuration(from); err != nil {
			return span{}, bad
		}
	}
	if to != "" {
		if s.to, err = parseDuration(to); err != nil {
			return span{}, bad
		}
	}
	if s.from >= s.to {
		return span{}, fmt.Errorf("want a range that ends after it begins, got %q", text)
	}
	return s, nil
}

// within reports whether at lies in one of the spans; without spans it always does.
func within(spans []span, at time.Duration) bool {
	for _, s := range spans {
		if at >= s.from && at < s.to {
			return true
		}
	}
	return len(spans) == 0
}

package timing

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Span is a stretch of the run's clock, from inclusive, to exclusive.
type Span struct{ From, To time.Duration }

// Endless is where a span ends that has no end.
const Endless = time.Duration(math.MaxInt64)

// ParseSpan reads "2m..3m", "30s.." or "..1m".
func ParseSpan(text string) (Span, error) {
	bad := fmt.Errorf("want a range of times such as 2m..3m, 30s.. or ..1m, got %q", text)
	from, to, found := strings.Cut(text, "..")
	from, to = strings.TrimSpace(from), strings.TrimSpace(to)
	if !found || from == "" && to == "" {
		return Span{}, bad
	}
	s := Span{0, Endless}
	var err error
	if from != "" {
		if s.From, err = time.ParseDuration(from); err != nil || s.From < 0 {
			return Span{}, bad
		}
	}
	if to != "" {
		if s.To, err = time.ParseDuration(to); err != nil || s.To < 0 {
			return Span{}, bad
		}
	}
	if s.From >= s.To {
		return Span{}, fmt.Errorf("want a range that ends after it begins, got %q", text)
	}
	return s, nil
}

// Holds reports whether at lies in s.
func (s Span) Holds(at time.Duration) bool { return at >= s.From && at < s.To }

// String is s as ParseSpan reads it.
func (s Span) String() string {
	if s.To == Endless {
		return s.From.String() + ".."
	}
	return s.From.String() + ".." + s.To.String()
}

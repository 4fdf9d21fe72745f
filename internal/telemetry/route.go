package telemetry

import (
	"sync"
)

// overflow stands for every value beyond a label's bound.
const overflow = "other"

// maxRouteSegments bounds a route's depth; what is below becomes "…".
const maxRouteSegments = 8

// maxSegment is the longest segment that can be part of a route's name.
const maxSegment = 40

// appendRoute appends the route of a path to dst: segments that look like
// identifiers (numbers, UUIDs, hexadecimal, dates, long or mixed tokens) become
// {id}, and so does what is longer than a name would be. The query is not part
// of path. It reads bytes only and allocates only to grow dst.
func appendRoute(dst []byte, path string) []byte {
	if path == "" || path[0] != '/' {
		return append(dst, overflow...) // "*", CONNECT's authority
	}
	segments := 0
	for i := 0; i < len(path); {
		dst = append(dst, '/')
		i++ // the slash
		start := i
		for i < len(path) && path[i] != '/' {
			if path[i] == '?' || path[i] == '#' {
				path = path[:i]
				break
			}
			i++
		}
		if start == i {
			continue
		}
		if segments++; segments > maxRouteSegments {
			return append(dst, "…"...)
		}
		if looksLikeID(path[start:i]) {
			dst = append(dst, "{id}"...)
		} else {
			dst = append(dst, path[start:i]...)
		}
	}
	return dst
}

// Route is appendRoute as a string.
func Route(path string) string { return string(appendRoute(nil, path)) }

// looksLikeID judges a segment by its bytes. A name has letters and at most a few
// digits, as "v1" and "oauth2" do; "report-2024" counts as an identifier.
func looksLikeID(s string) bool {
	if len(s) > maxSegment {
		return true
	}
	digits, hexes, uppers, lowers, odd, turns := 0, 0, 0, 0, 0, 0
	for i := range len(s) {
		if i > 0 && isDigit(s[i]) != isDigit(s[i-1]) {
			turns++
		}
		switch c := s[i]; {
		case isDigit(c):
			digits++
			hexes++
		case c >= 'a' && c <= 'f':
			lowers++
			hexes++
		case c >= 'A' && c <= 'F':
			uppers++
			hexes++
		case c >= 'a' && c <= 'z':
			lowers++
		case c >= 'A' && c <= 'Z':
			uppers++
		case c == '-' || c == '_' || c == '.':
		default:
			odd++ // escapes, '@', ':', '=', bytes beyond ASCII: data, not a name
		}
	}
	letters := lowers + uppers
	switch {
	case odd > 0:
		return true
	case digits > 0 && letters == 0: // 17, 2024-05-01, 10.0.0.1
		return true
	case digits >= 4: // a date, a key, a UUID, in whatever dress
		return true
	case digits > 0 && hexes == digits+letters && len(s) >= 8: // hexadecimal
		return true
	case digits > 0 && uppers > 0 && len(s) >= 6: // ORD-17, x7Gh2k
		return true
	case turns >= 4: // x7gh2k
		return true
	case len(s) >= 20 && uppers > 1 && lowers > 1 && digits > 0: // base64
		return true
	}
	return false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// bounded hands out at most limit different strings, and overflow for the rest.
// It is safe for use by several goroutines.
type bounded struct {
	limit int
	mu    sync.RWMutex
	known map[string]string
}

func newBounded(limit int) *bounded {
	return &bounded{limit: limit, known: make(map[string]string, limit)}
}

// get returns the string of b, without an allocation where it is known.
func (x *bounded) get(b []byte) string {
	x.mu.RLock()
	s, ok := x.known[string(b)]
	full := len(x.known) >= x.limit
	x.mu.RUnlock()
	if ok {
		return s
	}
	if full {
		return overflow
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if s, ok := x.known[string(b)]; ok {
		return s
	}
	if len(x.known) >= x.limit {
		return overflow
	}
	s = string(b)
	x.known[s] = s
	return s
}

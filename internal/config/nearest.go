package config

import "strings"

// nearest returns the candidate that s was most likely meant to be; "" when none
// is near: more than a third of its letters, and more than one, would differ.
func nearest(s string, candidates []string) string {
	if len(s) > 64 {
		return "" // no typing error, and the distance is quadratic
	}
	best, bestDistance := "", 0
	for _, c := range candidates {
		d := distance(normal(s), normal(c))
		if d > max(1, len(c)/3) {
			continue
		}
		if best == "" || d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// normal makes on-miss, onMiss and ON_MISS the same.
func normal(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(s))
}

// distance is the edit distance in bytes, with a swap of two neighbours as one
// edit (optimal string alignment).
func distance(a, b string) int {
	before, last, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(last[j]+1, next[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, last, next = last, next, before
	}
	return last[len(b)]
}

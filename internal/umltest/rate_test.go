package umltest

import (
	"math"
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	came := func(every time.Duration, stall func(i int) time.Duration) []time.Duration {
		var at []time.Duration
		for i := range 1000 {
			due := time.Duration(i) * every
			at = append(at, max(due, stall(i)))
		}
		return at
	}
	at := func(from, to int, until time.Duration) func(int) time.Duration {
		return func(i int) time.Duration {
			if i >= from && i <= to {
				return until
			}
			return 0
		}
	}
	const every = 2884 * time.Microsecond // 1442 bytes at 4 Mbit/s
	tests := []struct {
		name string
		at   []time.Duration
		want float64
	}{
		{"even", came(every, at(1, 0, 0)), 4e6},
		{"a stall at the end", came(every, at(970, 999, 1000*every)), 4e6},
		{"a stall at the beginning", came(every, at(0, 60, 61*every)), 4e6},
		{"5% less", came(every*105/100, at(500, 540, 541*every)), 4e6 / 1.05},
	}
	for _, tt := range tests {
		got, err := Rate(1442, tt.at)
		if err != nil || math.Abs(got/tt.want-1) > 0.005 {
			t.Errorf("%s: %.0f, %v, want %.0f within 0.5%%", tt.name, got, err, tt.want)
		}
	}
	for name, at := range map[string][]time.Duration{"none": nil, "few": make([]time.Duration, 7), "all at once": make([]time.Duration, 50)} {
		if got, err := Rate(1442, at); err == nil {
			t.Errorf("%s: %v, want an error", name, got)
		}
	}
}

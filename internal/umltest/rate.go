package umltest

import (
	"errors"
	"fmt"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// Rate is how many bits a second packets of so many bytes each came at, by Theil and
// Sen: a guest that stands still for a moment, because its host has other work, gets late
// what came meanwhile and is then at the same line again, which does not move the median
// of the slopes as it would move the first or the last packet. It wants 8 packets.
func Rate(bytes int, at []time.Duration) (float64, error) {
	const most = 200 // the work grows with the square
	step := (len(at) + most - 1) / most
	var bits, seconds []float64
	for i := 0; i < len(at); i += max(step, 1) {
		bits, seconds = append(bits, 8*float64(bytes*i)), append(seconds, at[i].Seconds())
	}
	if len(bits) < 8 {
		return 0, fmt.Errorf("rate: want 8 packets or more, got %d", len(at))
	}
	slope, err := timing.Trend(bits, seconds, 0.95)
	switch {
	case err != nil:
		return 0, fmt.Errorf("rate: %w", err)
	case slope.Estimate <= 0:
		return 0, errors.New("rate: want packets that come one after the other")
	}
	return 1 / slope.Estimate, nil
}

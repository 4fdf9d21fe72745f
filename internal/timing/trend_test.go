package timing

import (
	"math"
	"testing"
)

func TestTrendFindsTheSlope(t *testing.T) {
	random := uint64(7)
	draw := func() float64 { // in [-1, 1)
		random += golden
		return 2*Unit(finalise(random)) - 1
	}
	tests := []struct {
		name       string
		y          func(x float64) float64
		want, wide float64 // the slope, and how wide its interval may be
	}{
		{"level", func(float64) float64 { return 5 }, 0, 0},
		{"straight", func(x float64) float64 { return 3*x - 2 }, 3, 0},
		{"noise", func(float64) float64 { return draw() }, 0, 0.04},
		{"slope in noise", func(x float64) float64 { return x/2 + draw() }, 0.5, 0.04},
		{"sawtooth", func(x float64) float64 { return math.Mod(x*1.37, 1) }, 0, 0.02},
		{"a step for a quarter of the time", func(x float64) float64 {
			if x > 20 && x < 30 {
				return 1000
			}
			return x
		}, 1, 0.5},
	}
	for _, tt := range tests {
		var x, y []float64
		for i := range 40 {
			x, y = append(x, float64(i)), append(y, tt.y(float64(i)))
		}
		iv, err := Trend(x, y, 0.95)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if iv.Low > iv.Estimate || iv.Estimate > iv.High || iv.Low > tt.want || tt.want > iv.High || iv.High-iv.Low > tt.wide {
			t.Errorf("%s: trend = %+v, want %v inside, at most %v wide", tt.name, iv, tt.want, tt.wide)
		}
	}
}

// The law of an interval: it holds the truth as often as its level says.
func TestTrendCoversTheTruth(t *testing.T) {
	const runs = 500
	held, random := 0, uint64(1)
	for range runs {
		var x, y []float64
		for i := range 30 {
			random += golden
			x, y = append(x, float64(i)), append(y, 0.1*float64(i)+normalQuantile(min(max(Unit(finalise(random)), 1e-9), 1-1e-9)))
		}
		iv, err := Trend(x, y, 0.9)
		if err != nil {
			t.Fatal(err)
		}
		if iv.Low <= 0.1 && 0.1 <= iv.High {
			held++
		}
	}
	if share := float64(held) / runs; share < 0.86 || share > 0.94 { // three standard errors
		t.Errorf("intervals held the truth in %v of the runs, want 0.9", share)
	}
}

func TestTrendRefuses(t *testing.T) {
	four := []float64{1, 2, 3, 4}
	for name, f := range map[string]func() (Interval, error){
		"few":       func() (Interval, error) { return Trend(four[:3], four[:3], 0.95) },
		"unpaired":  func() (Interval, error) { return Trend(four, four[:3], 0.95) },
		"level":     func() (Interval, error) { return Trend(four, four, 1) },
		"same x":    func() (Interval, error) { return Trend([]float64{1, 1, 2, 3}, four, 0.95) },
		"no number": func() (Interval, error) { return Trend(four, []float64{1, math.NaN(), 2, 3}, 0.95) },
	} {
		if iv, err := f(); err == nil {
			t.Errorf("%s: trend = %+v, want an error", name, iv)
		}
	}
}

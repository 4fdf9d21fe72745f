package station

import (
	"cmp"
	"math"
	"slices"
)

const (
	// bySize is from which rank correlation with an answer's size on demands are told by it.
	bySize = 0.2
	// inTurn is from which rank correlation with the one before demands are drawn in blocks.
	inTurn = 0.1
	// sampled is how many pairs a rank correlation rests on at most: its standard error is
	// 0.02 then.
	sampled = 2000
	// fewest is from how many demands on a law may be read off them.
	fewest = 100
)

// law says how an operation's demands come about: x = (base + perByte·size)·residual, where
// residuals follow each other in runs of the mean length block; 0 for singly.
type law struct {
	base, perByte float64
	block         float64
}

// of is what a demand for an answer of that size is a multiple of.
func (l *law) of(size int64) float64 {
	if l.perByte == 0 {
		return 1
	}
	return l.base + l.perByte*float64(max(size, 0))
}

// lawOf reads the law of demands, in order of arrival, with their answers' sizes.
func lawOf(demands []float64, sizes []int64) (l law) {
	if len(demands) < fewest {
		return law{}
	}
	step := max(len(demands)/sampled, 1)
	var x, y []float64
	for i := 0; i < len(demands) && len(x) < sampled; i += step {
		x, y = append(x, demands[i]), append(y, float64(max(sizes[i], 0)))
	}
	if rankCorrelation(x, y) >= bySize {
		l.base, l.perByte = line(y, x)
	}
	x, y = x[:0], y[:0]
	for i := 0; i+1 < len(demands) && len(x) < sampled; i += step {
		x = append(x, demands[i]/l.of(sizes[i]))
		y = append(y, demands[i+1]/l.of(sizes[i+1]))
	}
	if rho := min(rankCorrelation(x, y), 0.99); rho > inTurn {
		// The length that suits an autoregressive series of this correlation. Source:
		// Politis & White, "Automatic block-length selection for the dependent
		// bootstrap", Econometric Reviews 2004.
		l.block = max(math.Cbrt(4*rho*rho/((1-rho*rho)*(1-rho*rho))*float64(len(demands))), 1)
	}
	return l
}

// line returns a ≥ 0 and b ≥ 0 for y ≈ a + b·x, where what y is off grows with it; b = 0
// where there is none. Means of bins of like x keep single values from turning it.
func line(x, y []float64) (a, b float64) {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(x[i], x[j]) })
	const bins = 20
	var sw, swx, swy, swxx, swxy float64
	for k := range bins {
		var mx, my, n float64
		for _, i := range order[k*len(x)/bins : (k+1)*len(x)/bins] {
			mx, my, n = mx+x[i], my+y[i], n+1
		}
		if mx, my = mx/n, my/n; !(my > 0) {
			continue
		}
		w := n / (my * my)
		sw, swx, swy, swxx, swxy = sw+w, swx+w*mx, swy+w*my, swxx+w*mx*mx, swxy+w*mx*my
	}
	b = (sw*swxy - swx*swy) / (sw*swxx - swx*swx)
	if a = (swy - b*swx) / sw; a < 0 {
		a, b = 0, swxy/swxx
	}
	if !(b > 0) || math.IsInf(b, 0) || math.IsNaN(a) || a == 0 && x[order[0]] <= 0 {
		return 0, 0
	}
	return a, b
}

// rankCorrelation is Spearman's; 0 where there is none to speak of.
func rankCorrelation(x, y []float64) float64 {
	if len(x) < 3 {
		return 0
	}
	a, b := ranks(x), ranks(y)
	mean := float64(len(x)-1) / 2
	var xy, xx, yy float64
	for i := range a {
		dx, dy := a[i]-mean, b[i]-mean
		xy, xx, yy = xy+dx*dy, xx+dx*dx, yy+dy*dy
	}
	if xx == 0 || yy == 0 {
		return 0
	}
	return xy / math.Sqrt(xx*yy)
}

// ranks are counted from 0; equal values share the mean of theirs.
func ranks(x []float64) []float64 {
	type ranked struct {
		v float64
		i int
	}
	order := make([]ranked, len(x))
	for i, v := range x {
		order[i] = ranked{v, i}
	}
	slices.SortFunc(order, func(a, b ranked) int { return cmp.Compare(a.v, b.v) })
	out := make([]float64, len(x))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && order[j].v == order[i].v {
			j++
		}
		for k := i; k < j; k++ {
			out[order[k].i] = float64(i+j-1) / 2
		}
		i = j
	}
	return out
}

package verify

import "math"

// clopperPearson is the exact interval of a share of which k of n were seen, with an
// error of at most alpha on both sides together. k and n need not be whole: of packets
// that hang on each other fewer count.
func clopperPearson(k, n, alpha float64) (low, high float64) {
	low, high = 0, 1
	if k > 0 {
		low = betaQuantile(alpha/2, k, n-k+1)
	}
	if k < n {
		high = betaQuantile(1-alpha/2, k+1, n-k)
	}
	return low, high
}

// betaQuantile is where a beta distribution has a share p below.
func betaQuantile(p, a, b float64) float64 {
	low, high := 0.0, 1.0
	for range 60 { // halves: 2^-60 is finer than a float64 near 1
		if middle := (low + high) / 2; betaShare(middle, a, b) < p {
			low = middle
		} else {
			high = middle
		}
	}
	return (low + high) / 2
}

// betaShare is the regularised incomplete beta function, by its continued fraction.
// Source: Abramowitz and Stegun, 26.5.8.
func betaShare(x, a, b float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	case x > (a+1)/(a+b+2): // it converges fast on the other side
		return 1 - betaShare(1-x, b, a)
	}
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	front := math.Exp(lab-la-lb+a*math.Log(x)+b*math.Log1p(-x)) / a
	// From the innermost term outwards, as many as large parameters need.
	terms := 50 + int(4*math.Sqrt(math.Max(a, b)))
	f := 1.0
	for m := terms; m >= 1; m-- {
		k := float64(m)
		even := k * (b - k) * x / ((a + 2*k - 1) * (a + 2*k))
		odd := -(a + k - 1) * (a + b + k - 1) * x / ((a + 2*k - 2) * (a + 2*k - 1))
		f = 1 + odd/(1+even/f)
	}
	return front / f
}

package timing

import (
	"math"
	"testing"
	"time"
)

const ms = time.Millisecond

func must(t testing.TB) func(Distribution, error) Distribution {
	return func(d Distribution, err error) Distribution {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func TestQuantilesOfDistributions(t *testing.T) {
	is := must(t)
	for _, c := range []struct {
		d    Distribution
		u    float64
		want time.Duration
	}{
		{is(Fixed(50 * ms)), 0, 50 * ms},
		{is(Fixed(50 * ms)), 0.999, 50 * ms},
		{is(Uniform(10*ms, 50*ms)), 0, 10 * ms},
		{is(Uniform(10*ms, 50*ms)), 0.25, 20 * ms},
		{is(Uniform(10*ms, 10*ms)), 0.5, 10 * ms},
		{is(Normal(100*ms, 10*ms)), 0.5, 100 * ms},
		{is(Normal(100*ms, 10*ms)), 0.8413447460685429, 110 * ms}, // one standard deviation
		{is(Normal(100*ms, 0)), 0, 100 * ms},
		{is(Normal(0, 10*ms)), 0.6826894921370859, 10 * ms}, // folded: |z| < 1
		{is(LogNormal(80*ms, 900*ms)), 0.5, 80 * ms},
		{is(LogNormal(80*ms, 900*ms)), 0.99, 900 * ms},
		{is(LogNormal(80*ms, 80*ms)), 0, 80 * ms},
		{is(Pareto(10*ms, 2)), 0, 10 * ms},
		{is(Pareto(10*ms, 2)), 0.75, 20 * ms},
		{is(Pareto(10*ms, 0.1)), 0.999, 10 * time.Second},        // a thousand times the minimum
		{is(Pareto(time.Minute, 0.01)), 0.999, Longest},          // and the general bound
		{is(LogNormal(time.Second, time.Hour)), 0.9999, Longest}, // endless tail
		{is(Empirical([]time.Duration{30 * ms, 10 * ms, 20 * ms})), 0.5, 20 * ms},
		{is(Empirical([]time.Duration{30 * ms, 10 * ms, 20 * ms})), 0.25, 15 * ms},
		{is(Empirical([]time.Duration{7 * ms})), 0.9, 7 * ms},
		{is(Uniform(10*ms, 50*ms)), -3, 10 * ms},
		{is(Uniform(10*ms, 50*ms)), math.NaN(), 10 * ms},
	} {
		got := c.d.Quantile(c.u)
		if d := got - c.want; d < -2 || d > 2 { // nanoseconds of rounding
			t.Errorf("%s.Quantile(%v) = %s, want %s", c.d, c.u, got, c.want)
		}
	}
}

// Quantiles of every distribution grow with u and are never negative.
func TestQuantilesAreMonotone(t *testing.T) {
	is := must(t)
	for _, d := range []Distribution{
		is(Fixed(ms)), is(Uniform(0, ms)), is(Normal(5*ms, 20*ms)), is(LogNormal(ms, time.Second)),
		is(Pareto(ms, 0.5)), is(Empirical([]time.Duration{3, 1, 2, 2})), is(LogNormal(1, math.MaxInt64)),
		is(Normal(math.MaxInt64, math.MaxInt64)), is(Pareto(math.MaxInt64, 1)), is(Uniform(0, math.MaxInt64)),
	} {
		last := time.Duration(0)
		for _, u := range []float64{0, 1e-300, 1e-9, 0.1, 0.5, 0.9, 0.999999, 1, 2} {
			q := d.Quantile(u)
			if q < last {
				t.Errorf("%s.Quantile(%v) = %s, want at least %s", d, u, q, last)
			}
			last = q
		}
	}
}

func TestSenselessArgumentsAreRefused(t *testing.T) {
	for name, build := range map[string]func() (Distribution, error){
		"negative fixed":       func() (Distribution, error) { return Fixed(-1) },
		"uniform upside down":  func() (Distribution, error) { return Uniform(2, 1) },
		"negative uniform":     func() (Distribution, error) { return Uniform(-1, 1) },
		"negative sd":          func() (Distribution, error) { return Normal(1, -1) },
		"lognormal without":    func() (Distribution, error) { return LogNormal(0, 1) },
		"p99 below the median": func() (Distribution, error) { return LogNormal(2, 1) },
		"pareto from 0":        func() (Distribution, error) { return Pareto(0, 1) },
		"alpha 0":              func() (Distribution, error) { return Pareto(1, 0) },
		"alpha NaN":            func() (Distribution, error) { return Pareto(1, math.NaN()) },
		"no samples":           func() (Distribution, error) { return Empirical(nil) },
		"negative sample":      func() (Distribution, error) { return Empirical([]time.Duration{1, -1}) },
	} {
		if d, err := build(); err == nil {
			t.Errorf("%s = %s, want an error", name, d)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		`50ms`:                         `50ms`,
		` 0 `:                          `0s`,
		`fixed("50ms")`:                `50ms`,
		`uniform("10ms", "50ms")`:      `uniform("10ms", "50ms")`,
		`uniform(10ms,50ms)`:           `uniform("10ms", "50ms")`,
		`normal ( '80ms', '20ms' )`:    `normal("80ms", "20ms")`,
		`lognormal("80ms", "900ms")`:   `lognormal("80ms", "900ms")`,
		`pareto("10ms", 1.5)`:          `pareto("10ms", 1.5)`,
		`lognormal("800µs", "1500µs")`: `lognormal("800µs", "1.5ms")`,
	} {
		d, err := Parse(text)
		if err != nil {
			t.Errorf("Parse(%q): %v", text, err)
		} else if d.String() != want {
			t.Errorf("Parse(%q) = %s, want %s", text, d, want)
		}
	}
	for text, want := range map[string]string{
		"fifty":           `want a duration such as "50ms", got "fifty"`,
		"50":              `want a duration such as "50ms", got "50": a number needs a unit: us, ms, s`,
		"-5ms":            `fixed: want a delay of 0 or more, got -5ms`,
		"uniform(1ms)":    `uniform: want 2 arguments, got 1`,
		"uniform(1ms,2ms": `uniform: want a closing parenthesis at the end of "uniform(1ms,2ms"`,
		"gauss(1ms)":      `want one of fixed, uniform, normal, lognormal, pareto, got "gauss"`,
		"pareto(1ms,x)":   `pareto: want a number for alpha, got "x"`,
		"normal(1ms,)":    `normal: want a duration such as "50ms", got ""`,
		"50msec":          `want a duration such as "50ms", got "50msec": unknown unit "msec": units are us, ms, s, m, h`,
		"1h5min":          `want a duration such as "50ms", got "1h5min": unknown unit "min": units are us, ms, s, m, h`,
		"":                `want a duration such as "50ms", got ""`,
	} {
		if _, err := Parse(text); err == nil || err.Error() != want {
			t.Errorf("Parse(%q) error = %v, want %s", text, err, want)
		}
	}
}

// Law: what Parse accepts, it accepts again from String, and to the same end.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"50ms", `uniform("1ms","2ms")`, "lognormal(1ms,1h)", "pareto(1us,.5)", "normal(1s,1s)", "fixed('1h')"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(d.String())
		if err != nil {
			t.Fatalf("Parse(%q) of what Parse(%q) gave: %v", d, text, err)
		}
		if again.String() != d.String() {
			t.Fatalf("Parse(%q) = %s, want itself", d, again)
		}
		for _, u := range []float64{0, 0.5, 0.999} {
			if a, b := d.Quantile(u), again.Quantile(u); a != b || a < 0 {
				t.Fatalf("%s.Quantile(%v) = %s, again %s, want them equal and not negative", d, u, a, b)
			}
		}
	})
}

func BenchmarkQuantile(b *testing.B) {
	for _, text := range []string{"50ms", "uniform(1ms,2ms)", "normal(80ms,10ms)", "lognormal(80ms,900ms)", "pareto(1ms,1.5)"} {
		d := must(b)(Parse(text))
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			var i uint64
			for b.Loop() {
				d.Quantile(Unit(Mix(1, i)))
				i++
			}
		})
	}
}

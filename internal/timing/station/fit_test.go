package station

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// normal draws from the standard normal distribution.
func (d *dice) normal() float64 {
	return math.Sqrt(-2*math.Log(1-d.unit())) * math.Cos(2*math.Pi*d.unit())
}

func (d *dice) exponential(mean time.Duration) time.Duration {
	return time.Duration(-math.Log(1-d.unit()) * float64(mean))
}

func (d *dice) lognormal(mean time.Duration, sigma float64) time.Duration {
	return time.Duration(float64(mean) * math.Exp(sigma*d.normal()-sigma*sigma/2))
}

// arrivals are Poisson's, at a rate, for a time from a moment on.
func arrivals(d *dice, visits []Visit, from, length time.Duration, rate float64) []Visit {
	mean := time.Duration(float64(time.Second) / rate)
	for at := from + d.exponential(mean); at < from+length; at += d.exponential(mean) {
		visits = append(visits, Visit{At: at, First: at, End: at})
	}
	return visits
}

func TestTrialRun(t *testing.T) {
	d := &dice{seed: 1}
	truth := Station{Discipline: FIFO, Servers: 8}
	var v []Visit
	for k, rho := range []float64{.3, .55, .75} {
		v = arrivals(d, v, time.Duration(k)*61*time.Second, 60*time.Second, rho*400)
	}
	x := make([]time.Duration, len(v))
	for i := range x {
		x[i] = d.lognormal(20*time.Millisecond, .6)
	}
	v = truth.Simulate(v, x)
	start := time.Now()
	r := Fit(v, 1)
	fmt.Printf("%v %+v\n", time.Since(start), r)
	_ = timing.Mix
}

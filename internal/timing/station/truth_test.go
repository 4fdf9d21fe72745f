package station

import (
	"math"
	"slices"
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

// users ask so many times each, and again as soon as they are answered.
func users(n, times int) []Visit {
	visits := make([]Visit, 0, n*times)
	for i := range n * times {
		visits = append(visits, Visit{Source: uint64(i%n + 1)})
	}
	return visits
}

// truth is a place that is recorded; it answers visits, which Source 0 makes when they say
// and other sources one after the other.
type truth struct {
	name     string
	capacity float64
	answer   func(d *dice, visits []Visit) []Visit
}

var truths = []truth{
	{"FIFO, 8 servers, lognormal", 400, func(d *dice, visits []Visit) []Visit {
		x := make([]time.Duration, len(visits))
		for i := range x {
			x[i] = d.lognormal(20*time.Millisecond, 0.6)
		}
		return (&Station{Discipline: FIFO, Servers: 8}).SimulateClosed(visits, x)
	}},
	{"processor sharing, 4 cores + I/O", 400, func(d *dice, visits []Visit) []Visit {
		// The I/O comes first. It is part of the pause for the station.
		x, io := make([]time.Duration, len(visits)), make([]time.Duration, len(visits))
		shifted, last := slices.Clone(visits), map[uint64]time.Duration{}
		for i := range x {
			x[i], io[i] = d.lognormal(10*time.Millisecond, 0.5), d.lognormal(15*time.Millisecond, 0.5)
			v := &shifted[i]
			v.At += io[i]
			if v.Source != 0 {
				v.At = last[v.Source] + io[i]
				last[v.Source] = v.At
			}
			v.First, v.End = v.At, v.At
		}
		out := (&Station{Discipline: PS, Servers: 4}).SimulateClosed(shifted, x)
		for i := range out {
			out[i].At -= io[i]
		}
		return out
	}},
	{"pool 16, 30 % misses, pool 4, pauses", 4 / (0.3 * 0.030) * (1 - 0.080/5), pools},
}

// pools: each request takes one of 16 threads for 2 ms; 3 in 10 then hold it while they
// wait for one of 4 connections, and use it for 30 ms. The place behind stands still for
// 80 ms every 5 s or so.
func pools(d *dice, visits []Visit) []Visit {
	out := slices.Clone(visits)
	front, back := servers{most: 16}, servers{most: 4}
	bySource := map[uint64][]int32{}
	var come, miss events
	for i := range out {
		if s := out[i].Source; s != 0 {
			if bySource[s] = append(bySource[s], int32(i)); len(bySource[s]) > 1 {
				continue
			}
		}
		come.push(event{float64(out[i].At), int32(i)})
	}
	pause := d.exponential(5 * time.Second)
	const pauses = 80 * time.Millisecond
	// A thread's end is not known when it starts: threads are counted, and wait in line.
	busy := 0
	var line []int32
	var done events
	start := func(i int32, now time.Duration) {
		busy++
		at := now + d.lognormal(2*time.Millisecond, 0.4)
		if d.unit() < 0.3 {
			miss.push(event{float64(at), i})
		} else {
			done.push(event{float64(at), i})
		}
	}
	first := func(h events) float64 {
		if len(h) == 0 {
			return math.Inf(1)
		}
		return h[0].at
	}
	for {
		now := min(first(come), first(miss), first(done))
		switch {
		case math.IsInf(now, 1):
			return out
		case now == first(done):
			e := done.pop()
			v := &out[e.i]
			v.First, v.End = time.Duration(e.at), time.Duration(e.at)
			busy--
			if of := bySource[v.Source]; v.Source != 0 && len(of) > 1 {
				bySource[v.Source] = of[1:]
				out[of[1]].At = v.End
				come.push(event{float64(v.End), of[1]})
			}
			if len(line) > 0 {
				start(line[0], v.End)
				line = line[1:]
			}
		case now == first(miss):
			e := miss.pop()
			from := time.Duration(back.start(int64(e.at)))
			until := from + d.lognormal(30*time.Millisecond, 0.5)
			for pause+pauses < from {
				pause += pauses + d.exponential(5*time.Second)
			}
			if until > pause {
				until = max(pause, from) + pauses + max(until-max(pause, from), 0)
			}
			back.hold(int64(until))
			done.push(event{float64(until), e.i})
		default:
			if e := come.pop(); busy < front.most {
				start(e.i, time.Duration(e.at))
			} else {
				line = append(line, e.i)
			}
		}
	}
}

// record records a truth at loads, for so long each, one after the other.
func (tr *truth) record(seed uint64, length time.Duration, loads ...float64) []Visit {
	d := &dice{seed: seed}
	var v []Visit
	for k, load := range loads {
		v = arrivals(d, v, time.Duration(k)*(length+10*time.Second), length, load*tr.capacity)
	}
	return tr.answer(d, v)
}

// model answers visits as a replay of a recording does.
func model(r Result, recorded []Visit, seed uint64) func(d *dice, visits []Visit) []Visit {
	return func(d *dice, visits []Visit) []Visit {
		drawer := NewDrawer(r, recorded, timing.Mix(d.seed, seed))
		x := make([]time.Duration, len(visits))
		for i := range x {
			x[i] = drawer.Draw(0, 1, 0)
		}
		return r.Station.SimulateClosed(visits, x)
	}
}

// judged is what a replay is judged by, at loads that were not recorded.
type judged struct {
	light [2][3]float64 // at 0.15 and 0.65: p50, p95, p99
	p95   float64       // at 0.85
	rate  float64       // of 64 users, a second
	knee  float64       // the load where p95 is 3 times that of 0.1; +Inf where it never is
}

func judge(answer func(d *dice, visits []Visit) []Visit, capacity float64, seed uint64, length time.Duration) (j judged) {
	at := func(load float64, length time.Duration) []time.Duration {
		d := &dice{seed: timing.Mix(seed, math.Float64bits(load))}
		var latencies []time.Duration
		for _, v := range answer(d, arrivals(d, nil, 0, length, load*capacity)) {
			latencies = append(latencies, v.latency())
		}
		slices.Sort(latencies)
		return latencies
	}
	for k, load := range []float64{.15, .65} {
		l := at(load, length)
		for q, p := range []float64{.5, .95, .99} {
			j.light[k][q] = float64(timing.Quantile(l, p))
		}
	}
	j.p95 = float64(timing.Quantile(at(.85, length), .95))
	d := &dice{seed: timing.Mix(seed, 64)}
	v := answer(d, users(64, int(capacity*length.Seconds()/64)))
	var until time.Duration
	for i := range v {
		until = max(until, v[i].End)
	}
	j.rate = float64(len(v)) / until.Seconds()
	idle := float64(timing.Quantile(at(.1, length), .95))
	j.knee = math.Inf(1)
	before := 1.0
	for load := .5; load < 1.4; load += .05 {
		times := float64(timing.Quantile(at(load, length/2), .95)) / idle
		if times >= 3 {
			j.knee = load - .05*(times-3)/(times-before)
			break
		}
		before = times
	}
	return j
}

// off is how far one is from the truth: p50, p95, p99 at light loads, p95 at 0.85, the rate
// of 64 users, the knee; as shares.
func (j *judged) off(truth *judged) (off [6]float64) {
	rel := func(a, b float64) float64 { return math.Abs(a-b) / b }
	for q := range 3 {
		off[q] = (rel(j.light[0][q], truth.light[0][q]) + rel(j.light[1][q], truth.light[1][q])) / 2
	}
	off[3], off[4], off[5] = rel(j.p95, truth.p95), rel(j.rate, truth.rate), rel(j.knee, truth.knee)
	return off
}

package station

import (
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	const ms = time.Millisecond
	base := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	type step struct {
		at    time.Duration
		enter int // so many come, each of whom needs 10 ms
		leave int // the one who came so manieth; 0 for none
		want  Load
	}
	for name, c := range map[string]struct {
		station Station
		tail    time.Duration
		steps   []step
	}{
		"fifo": {Station{Discipline: FIFO, Servers: 1}, 2 * ms, []step{
			{0, 0, 0, Load{}},
			{0, 3, 0, Load{InFlight: 3, InService: 1, Waiting: 2}},
			{11 * ms, 0, 0, Load{InFlight: 3, InService: 1, Waiting: 2}}, // the first's answer is under way
			{12 * ms, 0, 1, Load{InFlight: 2, InService: 1, Waiting: 1, Served: 1}},
			{13 * ms, 0, 3, Load{InFlight: 1, InService: 1, Waiting: 1, Served: 1, Left: 1}}, // it is served all the same
			{24 * ms, 0, 2, Load{InService: 1, Served: 2, Left: 1}},
			{40 * ms, 1, 0, Load{InFlight: 1, InService: 1, Served: 2, Left: 1}},
			{60 * ms, 0, 4, Load{Served: 3, Left: 1}},
		}},
		"fifo behind a delay": {Station{Discipline: FIFO, Servers: 2, Fixed: 4 * ms}, 0, []step{
			{0, 3, 0, Load{InFlight: 3}},
			{5 * ms, 0, 0, Load{InFlight: 3, InService: 2, Waiting: 1}},
			{11 * ms, 0, 1, Load{InFlight: 2, InService: 1, Served: 1}},
		}},
		"ps": {Station{Discipline: PS, Servers: 1}, 5 * ms, []step{
			{0, 2, 0, Load{InFlight: 2, InService: 2}},
			{10 * ms, 0, 2, Load{InFlight: 1, InService: 1, Left: 1}},
			{16 * ms, 0, 0, Load{InFlight: 1, InService: 1, Left: 1}}, // until its answer has ended
			{30 * ms, 0, 0, Load{InFlight: 1, Left: 1}},
			{31 * ms, 0, 1, Load{Served: 1, Left: 1}},
		}},
		"by load": {Station{Discipline: FIFO}, 0, []step{
			{0, 2, 0, Load{InFlight: 2, InService: 2}},
			{5 * ms, 0, 1, Load{InFlight: 1, InService: 1, Left: 1}},
			{10 * ms, 0, 2, Load{Served: 1, Left: 1}},
		}},
	} {
		d := demands{10 * ms, 10 * ms, 10 * ms, 10 * ms}
		l := NewLive(c.station, &d)
		var turns []*Turn
		for _, s := range c.steps {
			at := base.Add(s.at)
			for range s.enter {
				turns = append(turns, l.Enter(at, 0, 0, c.tail, 1))
			}
			if s.leave > 0 {
				turns[s.leave-1].Leave(at)
			}
			if got := l.Load(at); got != s.want {
				t.Errorf("%s: Load after %v = %+v, want %+v", name, s.at, got, s.want)
			}
		}
	}
}

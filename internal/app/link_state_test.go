package app

import (
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-proxy/understudy/internal/admin"
	"github.com/understudy-proxy/understudy/internal/telemetry"
	"github.com/understudy-proxy/understudy/shaping"
)

// What the admin API, the metrics and the report say of a link agrees with what is in
// force.
func TestLinkState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := linked(t, `
link:
  down: {delay: 40ms}
  steps:
    - {name: first, during: 1s..2s, down: {delay: 50ms}}
    - {name: second, during: 3s..13s, ramp: 4s, down: {delay: 80ms}}
    - {name: never, during: [1h..2h, 3h..], outage: true}
`)
		p.start = time.Now()
		if got := p.linkNow(); got.Engine != "" || len(got.Directions) > 0 {
			t.Errorf("linkNow before there is a link = %+v, want none", got)
		}
		if _, ok := p.linkStats(); ok {
			t.Error("linkStats before there is a link is ok")
		}
		link := &fakeLink{start: p.start}
		s := &shaped{inForce: link, engine: "fake"}
		s.held = held{link: link, start: p.start, plan: &p.linkPlan, isNew: p.linkIsNew, tell: func(change) {}}
		first, state, now := s.held.first()
		if err := link.Change(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		s.held.note(state, now)
		p.shaped = s
		p.shapedNow.Store(s)
		for _, at := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 5 * time.Second} {
			time.Sleep(at - time.Since(p.start))
			if err := s.held.hold(t.Context(), p.linkPlan.Load().At(at), at, false); err != nil {
				t.Fatal(err)
			}
		}
		s.past.Add(2)
		want := admin.Link{
			Engine: "fake", ElapsedSeconds: 5, NextChangeSeconds: 5.05, PastLink: 2,
			Directions: []admin.LinkDirection{{Direction: "down", Conditions: "delay=60ms", SentPackets: 3, BacklogBytes: 7}},
			Steps: []admin.LinkStep{
				{Name: "first", During: []string{"1s..2s"}, Times: 1, Seconds: 1},
				{Name: "second", During: []string{"3s..13s"}, InForce: true, Weight: 0.5, Times: 1, Seconds: 2},
				{Name: "never", During: []string{"1h0m0s..2h0m0s", "3h0m0s.."}},
			},
		}
		if got := p.linkNow(); !reflect.DeepEqual(got, want) {
			t.Errorf("linkNow = %+v, want %+v", got, want)
		}
		stats := telemetry.LinkStats{
			Directions: map[telemetry.LinkPart]telemetry.LinkCounters{{Direction: "down"}: {SentPackets: 3, BacklogBytes: 7}}, Moved: map[string]uint64{},
			Steps: map[string]float64{"first": 0, "second": 0.5, "never": 0},
		}
		if got, ok := p.linkStats(); !ok || !reflect.DeepEqual(got, stats) {
			t.Errorf("linkStats = %+v, %v, want %+v", got, ok, stats)
		}

		p.countLink()
		time.Sleep(time.Hour) // what lasted at the end does not last on
		if got := p.linkText(); !strings.Contains(got, "step first: 1 time, 1.0 s in all, first at 1.0 s\n  step second: 1 time, 2.0 s in all, first at 3.0 s\n") {
			t.Errorf("linkText = %q, want the steps that came to pass", got)
		}
		report := p.linkReport()
		if got, ok := report["down"].(shaping.Counters); !ok || got.SentPackets != 3 || len(report["steps"].([]passage)) != 2 {
			t.Errorf("linkReport = %v, want counters and two steps", report)
		}
	})
}

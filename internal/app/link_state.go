package app

import (
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/internal/admin"
	"github.com/understudy-proxy/understudy/internal/telemetry"
	"github.com/understudy-proxy/understudy/shaping"
)

// counters are the link's now or, once the command has ended, what they were then.
func (s *shaped) counters() (linkCounts, error) {
	if c := s.counted.Load(); c != nil {
		return *c, nil
	}
	link, err := s.Counters()
	return linkCounts{link, s.ClassCounters()}, err
}

// countLink reads the counters for the last time, before the namespaces go.
func (p *parts) countLink() {
	if p.shaped == nil {
		return
	}
	counted, err := p.shaped.counters()
	if err != nil {
		p.log.Warn("the link's counters", zap.Error(err))
	}
	p.shaped.counted.Store(&counted)
	p.shaped.held.end()
}

// linkNow is the link as the admin API tells it.
func (p *parts) linkNow() admin.Link {
	now := time.Since(p.start)
	l := admin.Link{ElapsedSeconds: now.Seconds(), NextChangeSeconds: -1}
	s := p.shapedNow.Load()
	if s == nil {
		return l
	}
	l.Engine, l.PastLink = string(s.engine), s.past.Load()
	counters, err := s.counters()
	if err != nil {
		p.log.Warn("the link's counters", zap.Error(err))
	}
	conditions := s.Conditions()
	for _, d := range directions {
		if c, shaped := conditions[d]; shaped {
			l.Directions = append(l.Directions, directionNow(d, c, counters.link[d]))
		}
	}
	for _, class := range s.Classes() {
		told := admin.LinkClass{Name: class.Name, To: toOf(&class), Moved: s.moved.of(class.Name)}
		for _, d := range directions {
			told.Directions = append(told.Directions, directionNow(d, *class.Link.Of(d), counters.classes[class.Name][d]))
		}
		l.Classes = append(l.Classes, told)
	}
	plan := p.linkPlan.Load()
	if next, ok := plan.Next(now); ok {
		l.NextChangeSeconds = next.Seconds()
	}
	weights, passed := s.held.weights(), map[string]passage{}
	for _, one := range s.held.passages() {
		passed[one.Name] = one
	}
	for _, step := range plan.Steps() {
		weight, inForce := weights[step.Name]
		told := admin.LinkStep{Name: step.Name, InForce: inForce, Weight: weight, Times: passed[step.Name].Times, Seconds: passed[step.Name].Seconds}
		for _, span := range step.During {
			told.During = append(told.During, span.String())
		}
		l.Steps = append(l.Steps, told)
	}
	return l
}

func directionNow(d shaping.Direction, c shaping.Conditions, n shaping.Counters) admin.LinkDirection {
	return admin.LinkDirection{
		Direction: string(d), Conditions: c.String(),
		SentBytes: n.SentBytes, SentPackets: n.SentPackets, Dropped: n.Dropped, Overlimits: n.Overlimits,
		BacklogBytes: n.BacklogBytes, BacklogPackets: n.BacklogPackets,
	}
}

// weights are those of the steps that last.
func (h *held) weights() map[string]float64 {
	all := map[string]float64{}
	for _, s := range h.current().Steps {
		all[s.Name] = s.Weight
	}
	return all
}

// linkStats is the link as metrics tell it.
func (p *parts) linkStats() (telemetry.LinkStats, bool) {
	s := p.shapedNow.Load()
	if s == nil {
		return telemetry.LinkStats{}, false
	}
	out := telemetry.LinkStats{Directions: map[telemetry.LinkPart]telemetry.LinkCounters{}, Moved: map[string]uint64{}, Steps: map[string]float64{}}
	counters, err := s.counters()
	if err != nil {
		p.log.Warn("the link's counters", zap.Error(err))
	}
	stats := func(class string, counters map[shaping.Direction]shaping.Counters) {
		for d, n := range counters {
			out.Directions[telemetry.LinkPart{Class: class, Direction: string(d)}] = telemetry.LinkCounters{
				SentBytes: n.SentBytes, SentPackets: n.SentPackets, DroppedPackets: n.Dropped,
				BacklogBytes: n.BacklogBytes, BacklogPackets: n.BacklogPackets,
			}
		}
	}
	stats("", counters.link)
	for class, n := range counters.classes {
		stats(class, n)
		out.Moved[class] = s.moved.of(class)
	}
	weights := s.held.weights()
	for _, step := range p.linkPlan.Load().Steps() {
		out.Steps[step.Name] = weights[step.Name]
	}
	return out, true
}

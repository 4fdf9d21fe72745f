package app

import (
	"time"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/timing/ratelimit"
)

// Summary is what a cassette holds, at a glance.
type Summary struct {
	Path        string            `json:"path"`
	Version     int               `json:"version"`
	Tool        string            `json:"tool,omitempty"`
	State       string            `json:"state"`
	CreatedAt   time.Time         `json:"created_at,omitzero"`
	EndedAt     time.Time         `json:"ended_at,omitzero"`
	Exchanges   int               `json:"exchanges"`
	Dropped     uint64            `json:"dropped"`
	Stubs       []string          `json:"stubs"` // their names
	Connections map[string]uint64 `json:"connections,omitempty"`
	Captured    []Traffic         `json:"captured"`
	NotCaptured []Traffic         `json:"not_captured"`
	Operations  []Operation       `json:"operations"`
	// Redacted counts what was taken out, such as "request.header.Authorization".
	Redacted map[string]int `json:"redacted"`
	Headers  []string       `json:"match_headers,omitempty"`
	Ignored  []string       `json:"ignored,omitempty"`
	Models   []Modelled     `json:"timing_models,omitempty"`
	Limits   []Limited      `json:"rate_limits,omitempty"`
	Warnings []place.Found  `json:"warnings,omitempty"`
}

// Traffic is what was seen of one host over one protocol.
type Traffic struct {
	Host     string `json:"host"`
	Protocol string `json:"protocol,omitempty"`
	Count    uint64 `json:"count"`
	Reason   string `json:"reason,omitempty"`
}

// Modelled is how a timing model serves some operations.
type Modelled struct {
	Operations []string `json:"operations"`
	Served     string   `json:"served"` // for people
	Capacity   float64  `json:"capacity_per_second,omitempty"`
	Quality    string   `json:"quality,omitempty"`
}

// Limited is how a rate limit refuses requests for some operations.
type Limited struct {
	Operations []string `json:"operations"`
	Limit      string   `json:"limit"` // for people
	Capacity   float64  `json:"capacity_per_second,omitempty"`
	Quality    string   `json:"quality,omitempty"`
}

// Summarize reads a cassette and says what it holds. An error stands for bad input.
func Summarize(c *cassette.Cassette) (*Summary, error) {
	m := c.Manifest
	s := &Summary{
		Path: c.Path, Version: m.Version, Tool: m.Tool, State: string(m.State), CreatedAt: m.Created, EndedAt: m.Ended,
		Dropped: m.Counts.Dropped, Connections: m.Counts.Connections, Headers: m.Match.Headers,
		Captured: traffic(m.Captured), NotCaptured: traffic(m.NotCaptured), Redacted: map[string]int{}, Stubs: []string{},
	}
	for _, i := range m.Match.Ignore {
		s.Ignored = append(s.Ignored, DescribeIgnore(matchIgnore(i)))
	}
	var ops operations
	hosts := map[Traffic]uint64{}
	for i := range m.Models {
		t := &m.Models[i]
		s.Models = append(s.Models, Modelled{t.Operations, describe(t), t.Capacity, t.Quality})
	}
	for i := range m.Limits {
		l := &m.Limits[i]
		one := Limited{Operations: l.Operations, Limit: describeLimit(l), Quality: l.Quality}
		if of := l.Limit(); of != (ratelimit.Limit{}) {
			one.Capacity = of.Capacity()
		}
		s.Limits = append(s.Limits, one)
	}
	for x, err := range c.Exchanges() {
		if err != nil {
			return nil, BadInput(err)
		}
		s.Exchanges++
		ops.add(x)
		for _, r := range x.Redacted {
			s.Redacted[r]++
		}
		hosts[Traffic{Host: x.Request.Host, Protocol: x.Request.Proto}]++
	}
	s.Operations = ops.list()
	if len(s.Captured) == 0 { // an archive, or a recording that was cut short
		s.Captured = counted(hosts)
	}
	stubs, err := readStubs(c.Stubs...)
	if err != nil {
		return nil, BadInput(err)
	}
	for _, t := range stubs {
		s.Stubs = append(s.Stubs, t.Name)
	}
	for _, w := range c.Warnings {
		s.Warnings = append(s.Warnings, place.Findings(w)...)
	}
	return s, nil
}

func traffic(list []cassette.Traffic) []Traffic {
	out := make([]Traffic, len(list))
	for i, t := range list {
		out[i] = Traffic(t)
	}
	return out
}

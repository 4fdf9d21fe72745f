package recorder

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
)

// Snapshot is a ledger at a moment. Within each of its parts everything adds up:
// opened is captured + passed + refused + dropped + open; exchanges are the sum
// of their outcomes, of their sources, and of their rows; recordings begun are
// those recorded, lost and pending.
type Snapshot struct {
	Connections ConnTotals     `json:"connections"`
	Exchanges   ExchangeTotals `json:"exchanges"`
	// Own is our own time on the exchanges.
	Own OwnSpread `json:"own"`
	// Delays are the exchanges whose answers' beginning was to be delayed, and by how much more
	// than asked it was; what is negative was early.
	Delays    Spread          `json:"delays"`
	Recording RecordingTotals `json:"recording"`
	// Names are those that a captured command resolved.
	Names NameTotals `json:"names"`
	// Hosts has a row for each host and protocol, the busiest first.
	Hosts []HostRow `json:"hosts"`
	// Rules has a row for each rule that fired, the busiest first.
	Rules []RuleRow `json:"rules"`
	// Away has a row for each kind of connection that was not captured.
	Away []AwayRow `json:"not_captured"`
	// Latest are the last connections that were not captured, oldest first.
	Latest []Connection `json:"latest_not_captured"`
}

// ConnTotals count connections. Bytes are counted where they were passed unread.
type ConnTotals struct {
	Opened   uint64 `json:"opened"`
	Open     uint64 `json:"open"`
	Captured uint64 `json:"captured"`
	Passed   uint64 `json:"passed"`
	Refused  uint64 `json:"refused"`
	Dropped  uint64 `json:"dropped"`
	BytesIn  int64  `json:"bytes_in"`
	BytesOut int64  `json:"bytes_out"`
}

// ExchangeTotals count exchanges and add up their times. Outcomes are named
// as fixtures.Outcome does, but "complete" for the empty one; sources likewise,
// and "nobody". What did not occur is left out.
type ExchangeTotals struct {
	Count    uint64            `json:"count"`
	Outcomes map[string]uint64 `json:"outcomes"`
	Sources  map[string]uint64 `json:"sources"`
	Upstream time.Duration     `json:"upstream_ns"`
	Injected time.Duration     `json:"injected_ns"`
	Own      time.Duration     `json:"own_ns"`
}

// RecordingTotals count what was to be recorded.
type RecordingTotals struct {
	Begun    uint64            `json:"begun"`
	Recorded uint64            `json:"recorded"`
	Pending  uint64            `json:"pending"` // under way or waiting for the disk
	Lost     map[Reason]uint64 `json:"lost"`
}

// NameTotals count resolutions of names.
type NameTotals struct {
	Asked    uint64                        `json:"asked"`
	Refused  map[fixtures.NameFault]uint64 `json:"refused,omitempty"` // by rules
	Delayed  uint64                        `json:"delayed"`           // by rules
	Injected time.Duration                 `json:"injected_ns"`
}

// HostRow is what was seen of a host over a protocol.
type HostRow struct {
	Host        string         `json:"host"`
	Protocol    string         `json:"protocol"`
	Connections ConnTotals     `json:"connections"`
	Exchanges   ExchangeTotals `json:"exchanges"`
}

// RuleRow says how often a rule touched an exchange or a name.
type RuleRow struct {
	Name  string `json:"name"`
	Fired uint64 `json:"fired"`
}

// AwayRow counts connections that were not captured.
type AwayRow struct {
	Host     string `json:"host"`
	Protocol string `json:"protocol"`
	Fate     Fate   `json:"fate"`
	Reason   string `json:"reason,omitempty"`
	// Untrusted is set where clients broke off the TLS handshake with us.
	Untrusted bool   `json:"untrusted,omitempty"`
	Count     uint64 `json:"count"`
}

// Snapshot adds up the ledger. The result is the caller's.
func (l *Ledger) Snapshot() Snapshot {
	var s Snapshot
	rows := map[hostKey]*HostRow{}
	row := func(k hostKey) *HostRow {
		if rows[k] == nil {
			rows[k] = &HostRow{Host: k.host, Protocol: k.protocol}
		}
		return rows[k]
	}

	l.connMu.Lock()
	s.Connections = l.conns
	for k, c := range l.byHost {
		row(k).Connections = *c
	}
	for k, n := range l.away {
		s.Away = append(s.Away, AwayRow{k.host, k.protocol, k.fate, k.reason, k.untrusted, n})
	}
	s.Latest = slices.Concat(l.latest[l.next:], l.latest[:l.next])
	l.connMu.Unlock()

	rules := map[string]uint64{}
	tallies := map[hostKey]*tally{}
	var all tally
	var spent times
	l.exchanges.Each(func(p *ledgerPart) {
		for k, t := range p.hosts {
			if tallies[k] == nil {
				tallies[k] = &tally{}
			}
			tallies[k].add(t)
		}
		for name, n := range p.rules {
			rules[name] += n
		}
		spent.join(&p.times)
	})
	for k, t := range tallies {
		row(k).Exchanges = t.totals()
		all.add(t)
	}
	s.Exchanges = all.totals()
	s.Own, s.Delays = spent.ownSpread(), spent.delays()

	l.nameMu.Lock()
	s.Names = l.resolved
	s.Names.Refused = maps.Clone(l.resolved.Refused)
	l.nameMu.Unlock()

	l.recMu.Lock()
	s.Recording = l.rec
	s.Recording.Lost = maps.Clone(l.rec.Lost)
	l.recMu.Unlock()

	for _, r := range rows {
		s.Hosts = append(s.Hosts, *r)
	}
	for name, n := range rules {
		s.Rules = append(s.Rules, RuleRow{name, n})
	}
	slices.SortFunc(s.Hosts, func(a, b HostRow) int {
		return cmp.Or(cmp.Compare(b.Exchanges.Count, a.Exchanges.Count), cmp.Compare(b.Connections.Opened, a.Connections.Opened),
			strings.Compare(a.Host, b.Host), strings.Compare(a.Protocol, b.Protocol))
	})
	slices.SortFunc(s.Rules, func(a, b RuleRow) int {
		return cmp.Or(cmp.Compare(b.Fired, a.Fired), strings.Compare(a.Name, b.Name))
	})
	slices.SortFunc(s.Away, func(a, b AwayRow) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Host, b.Host), strings.Compare(a.Protocol, b.Protocol),
			strings.Compare(string(a.Fate), string(b.Fate)), strings.Compare(a.Reason, b.Reason))
	})
	return s
}

func (t *tally) add(o *tally) {
	t.count += o.count
	for i := range t.outcomes {
		t.outcomes[i] += o.outcomes[i]
	}
	for i := range t.sources {
		t.sources[i] += o.sources[i]
	}
	t.spent(o.upstream, o.injected, o.own)
}

func (t *tally) totals() ExchangeTotals {
	e := ExchangeTotals{
		Count: t.count, Outcomes: map[string]uint64{}, Sources: map[string]uint64{},
		Upstream: t.upstream, Injected: t.injected, Own: t.own,
	}
	for i, n := range t.outcomes {
		if n > 0 {
			e.Outcomes[outcomeName(outcomes[i])] = n
		}
	}
	for i, n := range t.sources {
		if n > 0 {
			e.Sources[sourceName(sources[i])] = n
		}
	}
	return e
}

func outcomeName(o fixtures.Outcome) string { return cmp.Or(string(o), "complete") }

func sourceName(s Source) string { return cmp.Or(string(s), "nobody") }

// fill gives a manifest the ledger's account of the traffic, in place of an
// earlier one: a cassette that is appended to tells of its last recording.
func (l *Ledger) fill(m *cassette.Manifest) {
	s := l.Snapshot()
	m.Captured, m.NotCaptured = nil, nil
	for _, h := range s.Hosts {
		if h.Exchanges.Count > 0 {
			m.Captured = append(m.Captured, cassette.Traffic{Host: h.Host, Protocol: h.Protocol, Count: h.Exchanges.Count})
		}
	}
	for _, a := range s.Away {
		why := string(a.Fate)
		if a.Reason != "" {
			why += ": " + a.Reason
		}
		m.NotCaptured = append(m.NotCaptured, cassette.Traffic{Host: a.Host, Protocol: a.Protocol, Count: a.Count, Reason: why})
	}
	if c := s.Connections; c.Opened > 0 {
		m.Counts.Connections = map[string]uint64{}
		for fate, n := range map[Fate]uint64{Captured: c.Captured, Passed: c.Passed, Refused: c.Refused, Dropped: c.Dropped, "open": c.Open} {
			if n > 0 {
				m.Counts.Connections[string(fate)] = n
			}
		}
	}
}

package admin

import "time"

// Status is the run at a glance.
type Status struct {
	Version       string     `json:"version"`
	Mode          string     `json:"mode"`        // proxy, record or replay
	Seed          uint64     `json:"seed,string"` // a string: beyond 2^53 JSON numbers lose digits
	StartedAt     time.Time  `json:"started_at"`
	UptimeSeconds float64    `json:"uptime_seconds"`
	Ready         bool       `json:"ready"`
	Draining      bool       `json:"draining"`
	Listeners     []Listener `json:"listeners"`
	Cassettes     []string   `json:"cassettes"`
	Exchanges     uint64     `json:"exchanges"` // finished
	InFlight      int64      `json:"in_flight"`
	Misses        uint64     `json:"misses"`
	Faults        uint64     `json:"faults"`      // exchanges broken on purpose
	Dropped       uint64     `json:"dropped"`     // exchanges not recorded because the queue was full
	Lossy         bool       `json:"lossy"`       // whether the recording misses anything
	Chaos         bool       `json:"chaos"`       // false when all rules are switched off
	RulesError    string     `json:"rules_error"` // why the last change was refused; "" if it was not
	StubsError    string     `json:"stubs_error"` // likewise
	Models        []Model    `json:"models"`      // at work: with --timing model
}

// Model is a timing model at work. Who is in flight there, and neither in service nor waiting,
// is in the delay before the station, or its answer is on its way.
type Model struct {
	Cassette   string   `json:"cassette"`
	Operations []string `json:"operations"`
	Discipline string   `json:"discipline"`          // fifo, ps or by load
	Servers    int      `json:"servers"`             // 0 for by load
	Capacity   float64  `json:"capacity_per_second"` // by the fit; 0 where it is not known
	InFlight   int      `json:"in_flight"`
	InService  int      `json:"in_service"`
	Waiting    int      `json:"waiting"` // for a server
	Served     uint64   `json:"served"`  // since the start
	Left       uint64   `json:"left"`    // clients that did before their answer was due
}

// Listener is an open front door.
type Listener struct {
	Kind string `json:"kind"` // forward, reverse, tcp or transparent
	URL  string `json:"url"`
	To   string `json:"to"`
}

// Exchange is the summary of a finished exchange.
type Exchange struct {
	ID              uint64    `json:"id"`
	At              time.Time `json:"at"`
	Client          string    `json:"client"`
	Method          string    `json:"method"`
	URL             string    `json:"url"` // served without its query, where secrets live; "" for Scheme, Host and Target put together when asked
	Scheme          string    `json:"-"`
	Host            string    `json:"-"`
	Target          string    `json:"-"`
	Proto           string    `json:"proto"`
	Status          int       `json:"status"`  // 0 when no response came
	Outcome         string    `json:"outcome"` // complete, client, upstream, fault, miss or dropped
	Error           string    `json:"error"`
	Source          string    `json:"source"` // "upstream", "checkout#17", "stub hello", "rule NAME"; "" for nobody
	DurationSeconds float64   `json:"duration_seconds"`
	UpstreamSeconds float64   `json:"upstream_seconds"`
	InjectedSeconds float64   `json:"injected_seconds"` // by rules, or by a replay's pace
	PacedSeconds    float64   `json:"paced_seconds"`    // of them, by the pace of a recording or a stub's delay
	OwnSeconds      float64   `json:"own_seconds"`
	OwnStages       OwnStages `json:"own_stages"` // OwnSeconds by stage
	ClientSeconds   float64   `json:"client_seconds"`
	// Delayed is set where the answer's beginning was to be delayed, DelayErrorSeconds
	// is by how much more than asked it was.
	Delayed           bool     `json:"delayed"`
	DelayErrorSeconds float64  `json:"delay_error_seconds"`
	RequestBytes      int64    `json:"request_bytes"`
	ResponseBytes     int64    `json:"response_bytes"`
	Rules             []string `json:"rules"` // that touched it, in order
	Recorded          bool     `json:"recorded"`
}

// OwnStages is understudy's own time on an exchange by stage, in seconds; 0 for
// those that it did not come to.
type OwnStages struct {
	Read   float64 `json:"read"`   // the request, until it is understood
	Plan   float64 `json:"plan"`   // what the rules decide, and the making of the upstream's request
	Send   float64 `json:"send"`   // finding a connection to the upstream and writing to it
	Answer float64 `json:"answer"` // the choice in replay, or the upstream's answer from its first byte on
	Write  float64 `json:"write"`  // the answer to the client
}

// complete puts together what is made only for those who look.
func (x *Exchange) complete() {
	if x.URL == "" && x.Target != "" {
		x.URL = x.Scheme + "://" + x.Host + x.Target
	}
	if x.Outcome == "" {
		x.Outcome = "complete"
	}
}

// Miss is a request that replay had no answer to.
type Miss struct {
	At          time.Time    `json:"at"`
	Method      string       `json:"method"`
	URL         string       `json:"url"`     // served without its query
	Nearest     string       `json:"nearest"` // "checkout#17" or "stub hello"; "" when nothing is near
	Differences []Difference `json:"differences"`
	Forwarded   bool         `json:"forwarded"` // it went upstream instead
}

// Difference is one field in which a request is not what the nearest answer
// wants.
type Difference struct {
	Field string `json:"field"`
	Want  string `json:"want"`
	Got   string `json:"got"`
}

// Rule is a rule's state.
type Rule struct {
	Name    string `json:"name"`
	Place   string `json:"place"` // "rules.yaml:14:5"
	Enabled bool   `json:"enabled"`
	Matched uint64 `json:"matched"` // requests its condition held for
	Fired   uint64 `json:"fired"`   // of them, those it touched
}

// Link is what a captured command's link does now.
type Link struct {
	Engine            string          `json:"engine"`              // "netem"; "" for no link
	ElapsedSeconds    float64         `json:"elapsed_seconds"`     // on the run's clock
	NextChangeSeconds float64         `json:"next_change_seconds"` // when on the run's clock; below 0 for never again
	Directions        []LinkDirection `json:"directions"`          // those that are shaped; what belongs to a class is not in them
	Classes           []LinkClass     `json:"classes"`             // parts with conditions of their own, in order
	Steps             []LinkStep      `json:"steps"`               // of the timeline, in order
	PastLink          int64           `json:"past_link"`           // connections to the loopback, which has no link
}

// LinkDirection is one of a link's.
type LinkDirection struct {
	Direction      string `json:"direction"`  // down or up
	Conditions     string `json:"conditions"` // in force, as a spec
	SentBytes      uint64 `json:"sent_bytes"`
	SentPackets    uint64 `json:"sent_packets"`
	Dropped        uint64 `json:"dropped"` // packets, lost on purpose or because the queue was full
	Overlimits     uint64 `json:"overlimits"`
	BacklogBytes   uint64 `json:"backlog_bytes"`
	BacklogPackets uint64 `json:"backlog_packets"` // queued and delayed
}

// LinkClass is a part of a link with conditions of its own.
type LinkClass struct {
	Name       string          `json:"name"`
	To         []string        `json:"to"`         // destinations; none for one that only rules put connections into
	Moved      uint64          `json:"moved"`      // how often a rule put a connection into it
	Directions []LinkDirection `json:"directions"` // both; conditions are empty where packets pass as they are
}

// LinkStep is a step of a link's timeline.
type LinkStep struct {
	Name    string   `json:"name"`
	During  []string `json:"during"` // "2m0s..3m0s"
	InForce bool     `json:"in_force"`
	Weight  float64  `json:"weight"`  // of its conditions: 1, less on a ramp, 0 while it is not in force
	Times   int      `json:"times"`   // that it came so far
	Seconds float64  `json:"seconds"` // that it lasted so far
}

// Rules are the run's rules and their switches. Its methods are called from many
// goroutines.
type Rules interface {
	// List returns all rules in order.
	List() []Rule
	// Set switches a rule; false when there is none of that name.
	Set(name string, enabled bool) bool
	// SetChaos switches all rules together, without changing their own switches.
	SetChaos(enabled bool)
	// Chaos reports the common switch.
	Chaos() bool
}

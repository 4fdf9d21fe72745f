package recorder

import (
	"math"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/sharded"
)

// Other is the name under which a ledger books what goes beyond its bounds on
// distinct hosts, rules and reasons.
const Other = "(other)"

// Ledger accounts for every connection and exchange of a run, by host and
// protocol, by rule and by outcome. Its methods may be called from many
// goroutines and never wait for anything but each other.
type Ledger struct {
	hosts, names bound

	connMu sync.Mutex
	conns  ConnTotals
	byHost map[hostKey]*ConnTotals
	away   map[awayKey]uint64 // connections that were not captured
	latest []Connection       // of those, the last ones, as a ring
	next   int                // where the ring goes on

	exchanges *sharded.Journal[Entry, ledgerPart]

	nameMu   sync.Mutex
	resolved NameTotals

	recMu sync.Mutex
	rec   RecordingTotals
}

const (
	defaultHosts = 1000 // distinct hosts before Other
	maxNames     = 500  // distinct rules and reasons before Other
	latestAway   = 64   // connections not captured that are kept one by one
)

type hostKey struct{ host, protocol string }

type awayKey struct {
	hostKey
	fate      Fate
	reason    string
	untrusted bool
}

// Fate is what was done with a connection.
type Fate string

// The fates of a connection.
const (
	Captured Fate = "captured" // its exchanges were seen
	Passed   Fate = "passed"   // its bytes were passed on unread
	Refused  Fate = "refused"  // a rule refused it
	Dropped  Fate = "dropped"  // it could not be served
)

// Connection is a client connection that has ended.
type Connection struct {
	Door     string `json:"door"`   // the listener it came through
	Client   string `json:"client"` // the client's address
	Host     string `json:"host"`   // whom it was for; "" where that is unknown
	Protocol string `json:"protocol"`
	Fate     Fate   `json:"fate"` // an unknown one is booked as Dropped
	Reason   string `json:"reason,omitempty"`
	Rule     string `json:"rule,omitempty"` // the rule that refused it
	// Untrusted is set where the client broke off the TLS handshake with us: most
	// likely it does not trust our authority.
	Untrusted bool  `json:"untrusted,omitempty"`
	BytesIn   int64 `json:"bytes_in"`  // from the client
	BytesOut  int64 `json:"bytes_out"` // to the client
}

// Source is who answered an exchange.
type Source string

// The sources of an answer.
const (
	SourceNobody   Source = ""         // no answer was given
	SourceUpstream Source = "upstream" // the upstream did
	SourceHit      Source = "hit"      // a cassette or stub did
	SourceMiss     Source = "miss"     // replay had none, and said so
	SourceFault    Source = "fault"    // a rule did
)

// Entry is an exchange that has ended.
type Entry struct {
	Host     string
	Protocol string
	Outcome  fixtures.Outcome
	Source   Source
	Fired    []string // names of the rules that touched it; they must not change any more
	// Upstream, Injected and Own divide the client's wait.
	Upstream, Injected, Own time.Duration
	// Stages is Own by stage.
	Stages fixtures.OwnTimes
	// Delayed is set where its answer's beginning was to be delayed, and DelayError is
	// by how much more than asked it was.
	Delayed    bool
	DelayError time.Duration
}

type ledgerPart struct {
	times times
	hosts map[hostKey]*tally
	rules map[string]uint64
}

// tally is a row of exchanges. Its outcomes and its sources each add up to count.
type tally struct {
	count    uint64
	outcomes [len(outcomes)]uint64
	sources  [len(sources)]uint64

	upstream, injected, own time.Duration
}

// The known outcomes and sources; what is unknown counts as the last.
var (
	outcomes = [...]fixtures.Outcome{fixtures.OutcomeComplete, fixtures.OutcomeClient, fixtures.OutcomeUpstream,
		fixtures.OutcomeFault, fixtures.OutcomeMiss, fixtures.OutcomeDropped, fixtures.OutcomeInternal, fixtures.OutcomeStopped, "unknown"}
	sources = [...]Source{SourceUpstream, SourceHit, SourceMiss, SourceFault, SourceNobody}
)

// NewLedger returns an empty ledger that tells up to hosts hosts apart; 0 for 1000.
func NewLedger(hosts int) *Ledger {
	if hosts <= 0 {
		hosts = defaultHosts
	}
	l := &Ledger{
		hosts: bound{most: hosts}, names: bound{most: maxNames},
		byHost: map[hostKey]*ConnTotals{}, away: map[awayKey]uint64{},
		rec: RecordingTotals{Lost: map[Reason]uint64{}},
	}
	l.exchanges = sharded.NewJournal(l.add)
	return l
}

// ConnOpened books a connection at its accept.
func (l *Ledger) ConnOpened() {
	l.connMu.Lock()
	defer l.connMu.Unlock()
	l.conns.Opened++
	l.conns.Open++
}

// ConnClosed books the end of a connection that ConnOpened began.
func (l *Ledger) ConnClosed(c Connection) {
	if c.Rule != "" {
		l.fired(c.Rule)
	}
	l.connMu.Lock()
	defer l.connMu.Unlock()
	key := hostKey{l.hosts.admit(c.Host), l.names.admit(c.Protocol)}
	row := l.byHost[key]
	if row == nil {
		row = &ConnTotals{}
		l.byHost[key] = row
	}
	l.conns.Open--
	l.conns.close(&c)
	row.Opened++
	row.close(&c)
	if c.Fate == Captured {
		return
	}
	l.away[awayKey{key, c.Fate, l.names.admit(c.Reason), c.Untrusted}]++
	if len(l.latest) < latestAway {
		l.latest = append(l.latest, c)
		return
	}
	l.latest[l.next] = c
	l.next = (l.next + 1) % latestAway
}

func (t *ConnTotals) close(c *Connection) {
	switch c.Fate {
	case Captured:
		t.Captured++
	case Passed:
		t.Passed++
	case Refused:
		t.Refused++
	default:
		c.Fate = Dropped
		t.Dropped++
	}
	t.BytesIn += c.BytesIn
	t.BytesOut += c.BytesOut
}

// Finish books an exchange at its end. It keeps a copy of e for a while: what that refers
// to must not change any more.
func (l *Ledger) Finish(e *Entry) { l.exchanges.Post(e) }

// add books exchanges in a part. Many in a row are of a kind, whose row need not be looked
// up again.
func (l *Ledger) add(p *ledgerPart, entries []Entry) {
	var key hostKey
	var row *tally
	for i := range entries {
		e := &entries[i]
		if k := (hostKey{e.Host, e.Protocol}); row == nil || k != key {
			key, row = k, l.row(p, k)
		}
		row.count++
		row.outcomes[indexOf(outcomes[:], e.Outcome)]++
		row.sources[indexOf(sources[:], e.Source)]++
		row.spent(e.Upstream, e.Injected, e.Own)
		p.times.add(e)
		l.fire(p, e.Fired)
	}
}

// spent adds times to a row's. 10,000 exchanges that are open at once come to 292 years in
// ten days: it stays there.
func (t *tally) spent(upstream, injected, own time.Duration) {
	plus := func(sum *time.Duration, d time.Duration) {
		*sum += min(d, math.MaxInt64-max(*sum, 0))
	}
	plus(&t.upstream, upstream)
	plus(&t.injected, injected)
	plus(&t.own, own)
}

// row is a host's row in a part.
func (l *Ledger) row(p *ledgerPart, key hostKey) *tally {
	if row := p.hosts[key]; row != nil {
		return row
	}
	// New here, or beyond the bound.
	key = hostKey{l.hosts.admit(key.host), l.names.admit(key.protocol)}
	row := p.hosts[key]
	if row == nil {
		if row = (&tally{}); p.hosts == nil {
			p.hosts = map[hostKey]*tally{}
		}
		p.hosts[key] = row
	}
	return row
}

// fire counts rules in a part.
func (l *Ledger) fire(p *ledgerPart, rules []string) {
	for _, name := range rules {
		if _, ok := p.rules[name]; !ok {
			if name = l.names.admit(name); p.rules == nil {
				p.rules = map[string]uint64{}
			}
		}
		p.rules[name]++
	}
}

// Resolved books a name that was asked for, and what the rules made of it.
func (l *Ledger) Resolved(p *fixtures.NamePlan) {
	l.nameMu.Lock()
	l.resolved.Asked++
	if p.Fault != fixtures.NameResolves {
		if l.resolved.Refused == nil {
			l.resolved.Refused = map[fixtures.NameFault]uint64{}
		}
		l.resolved.Refused[p.Fault]++
	}
	if p.Hold > 0 {
		l.resolved.Delayed++
		l.resolved.Injected += p.Hold
	}
	l.nameMu.Unlock()
	l.fired(p.Fired...)
}

// fired counts rules of what is not an exchange.
func (l *Ledger) fired(rules ...string) {
	l.exchanges.Do(func(p *ledgerPart) { l.fire(p, rules) })
}

// indexOf is the index of v in list, or the last one.
func indexOf[T comparable](list []T, v T) int {
	for i := range list {
		if list[i] == v {
			return i
		}
	}
	return len(list) - 1
}

// taken, recorded and lost book recordings: begun, written, given up.
func (l *Ledger) taken() {
	l.recMu.Lock()
	defer l.recMu.Unlock()
	l.rec.Begun++
	l.rec.Pending++
}

func (l *Ledger) recorded(n uint64) {
	l.recMu.Lock()
	defer l.recMu.Unlock()
	l.rec.Recorded += n
	l.rec.Pending -= n
}

func (l *Ledger) lost(why Reason) {
	l.recMu.Lock()
	defer l.recMu.Unlock()
	l.rec.Lost[why]++
	l.rec.Pending--
}

// bound admits a number of distinct names, and calls the rest Other.
type bound struct {
	most int
	mu   sync.Mutex
	seen map[string]bool
}

func (b *bound) admit(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[name] {
		return name
	}
	if len(b.seen) >= b.most {
		return Other
	}
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	b.seen[name] = true
	return name
}

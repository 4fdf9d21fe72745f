package recorder

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

var update = flag.Bool("update", false, "write the golden files")

// check reports every sum in s that does not come out.
func check(t *testing.T, s Snapshot) {
	t.Helper()
	conns := func(where string, c ConnTotals) {
		if c.Opened != c.Captured+c.Passed+c.Refused+c.Dropped+c.Open {
			t.Errorf("%s: connections = %+v, want opened to be the sum", where, c)
		}
	}
	exchanges := func(where string, e ExchangeTotals) {
		var outcomes, sources uint64
		for _, n := range e.Outcomes {
			outcomes += n
		}
		for _, n := range e.Sources {
			sources += n
		}
		if outcomes != e.Count || sources != e.Count {
			t.Errorf("%s: %d exchanges with %d outcomes and %d sources, want them equal", where, e.Count, outcomes, sources)
		}
	}
	conns("total", s.Connections)
	exchanges("total", s.Exchanges)
	var c ConnTotals
	var n uint64
	var own time.Duration
	for _, h := range s.Hosts {
		conns(h.Host, h.Connections)
		exchanges(h.Host, h.Exchanges)
		c.Opened += h.Connections.Opened
		n += h.Exchanges.Count
		own += h.Exchanges.Own
	}
	if n != s.Exchanges.Count || own != s.Exchanges.Own {
		t.Errorf("rows hold %d exchanges and %s, want the totals, %d and %s", n, own, s.Exchanges.Count, s.Exchanges.Own)
	}
	if c.Opened+s.Connections.Open != s.Connections.Opened {
		t.Errorf("rows hold %d connections and %d are open, want %d", c.Opened, s.Connections.Open, s.Connections.Opened)
	}
	var away uint64
	for _, a := range s.Away {
		away += a.Count
	}
	if want := s.Connections.Passed + s.Connections.Refused + s.Connections.Dropped; away != want {
		t.Errorf("connections not captured by kind = %d, want %d", away, want)
	}
}

// Sums of times stay at the most that a duration holds.
func TestLedgerOfCenturies(t *testing.T) {
	const most = time.Duration(math.MaxInt64)
	l := NewLedger(0)
	for _, host := range []string{"a", "a", "b", "b"} {
		l.Finish(&Entry{Host: host, Upstream: most/2 + time.Hour, Injected: time.Second, Own: most})
	}
	if e := l.Snapshot().Exchanges; e.Upstream != most || e.Injected != 4*time.Second || e.Own != most {
		t.Errorf("upstream %v, injected %v, own %v; want %v, 4s, %v", e.Upstream, e.Injected, e.Own, most, most)
	}
}

func TestLedgerAddsUpAtEveryMoment(t *testing.T) {
	l := NewLedger(5)
	fates := []Fate{Captured, Passed, Refused, Dropped, "unheard of"}
	outcomes := []fixtures.Outcome{"", fixtures.OutcomeClient, fixtures.OutcomeFault, "unheard of"}
	origins := []Source{SourceUpstream, SourceHit, SourceMiss, SourceFault, SourceNobody, "unheard of"}
	const workers, each = 6, 300
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				l.ConnOpened()
				l.Finish(&Entry{Host: fmt.Sprint("host", (w+i)%9), Protocol: "HTTP/1.1", Outcome: outcomes[i%len(outcomes)],
					Source: origins[i%len(origins)], Fired: []string{"slow", fmt.Sprint("rule", i%3)}, Own: time.Microsecond})
				if i%10 != 0 { // one in ten stays open
					l.ConnClosed(Connection{Host: fmt.Sprint("host", i%9), Protocol: "tls", Fate: fates[i%len(fates)], BytesIn: 1})
				}
			}
		})
	}
	looked := make(chan struct{})
	go func() { // ends with the loop
		defer close(looked)
		for range 50 {
			check(t, l.Snapshot())
		}
	}()
	wg.Wait()
	<-looked
	s := l.Snapshot()
	check(t, s)
	if s.Connections.Opened != workers*each || s.Connections.Open != workers*each/10 || s.Exchanges.Count != workers*each {
		t.Errorf("totals = %+v and %d exchanges, want %d of each, a tenth open", s.Connections, s.Exchanges.Count, workers*each)
	}
	if s.Exchanges.Own != workers*each*time.Microsecond {
		t.Errorf("own time = %s, want %s", s.Exchanges.Own, workers*each*time.Microsecond)
	}
	hosts := map[string]bool{}
	for _, h := range s.Hosts {
		hosts[h.Host] = true
	}
	if len(hosts) != 6 || !hosts[Other] {
		t.Errorf("hosts told apart = %v, want 5 and %s", hosts, Other)
	}
	if s.Rules[0] != (RuleRow{"slow", workers * each}) || len(s.Rules) != 4 {
		t.Errorf("rules = %v, want slow first with %d, and three more", s.Rules, workers*each)
	}
	if len(s.Latest) != latestAway {
		t.Errorf("latest not captured = %d, want %d", len(s.Latest), latestAway)
	}
}

func TestLatestAwayIsInOrder(t *testing.T) {
	l := NewLedger(0)
	for i := range latestAway + 10 {
		l.ConnOpened()
		l.ConnClosed(Connection{Fate: Dropped, BytesIn: int64(i)})
	}
	s := l.Snapshot()
	if first, last := s.Latest[0].BytesIn, s.Latest[latestAway-1].BytesIn; first != 10 || last != latestAway+9 {
		t.Errorf("latest = %d to %d, want 10 to %d", first, last, latestAway+9)
	}
}

// Quantiles are over all shards and to within 2 %; errors of delays keep their sign.
func TestLedgerTellsHowTimeIsSpread(t *testing.T) {
	if s := NewLedger(0).Snapshot(); s.Own.Count != 0 || s.Own.Max != 0 || len(s.Own.Stages) != 0 || s.Delays != (Spread{}) {
		t.Errorf("an empty ledger tells own time %+v, delays %+v", s.Own, s.Delays)
	}
	l := NewLedger(0)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				e := Entry{Host: "h", Protocol: "HTTP/1.1", Own: time.Duration(i+1) * time.Microsecond}
				if i%2 == 0 {
					e.Stages[fixtures.StagePlan] = e.Own
				}
				if e.Delayed = i < 100; e.Delayed {
					e.DelayError = time.Duration(i-20) * time.Microsecond
				}
				l.Finish(&e)
			}
		})
	}
	wg.Wait()
	s := l.Snapshot()
	near := func(what string, got, want time.Duration) {
		t.Helper()
		if (got - want).Abs() > want.Abs()/50+time.Microsecond {
			t.Errorf("%s = %v, want about %v", what, got, want)
		}
	}
	near("own p50", s.Own.P50, 500*time.Microsecond)
	near("own p99", s.Own.P99, 990*time.Microsecond)
	plan := s.Own.Stages["plan"]
	near("plan p50", plan.P50, 500*time.Microsecond)
	near("delay error p50", s.Delays.P50, 29*time.Microsecond)
	near("delay error p99", s.Delays.P99, 78*time.Microsecond)
	if s.Own.Count != 4000 || plan.Count != 2000 || len(s.Own.Stages) != 1 || s.Delays.Count != 400 {
		t.Errorf("own time of %d, plan of %d, %d stages, delays %d, want 4000, 2000, 1, 400", s.Own.Count, plan.Count, len(s.Own.Stages), s.Delays.Count)
	}
	if s.Own.Max != time.Millisecond || s.Delays.Max != 79*time.Microsecond {
		t.Errorf("greatest own time %v and error %v, want 1ms and 79µs", s.Own.Max, s.Delays.Max)
	}
	early := NewLedger(0)
	early.Finish(&Entry{Host: "h", Delayed: true, DelayError: -15 * time.Microsecond})
	if d := early.Snapshot().Delays; d.Count != 1 || d.Max != -15*time.Microsecond || d.P50 > -14*time.Microsecond || d.P50 < -16*time.Microsecond {
		t.Errorf("an early delay is told as %+v", d)
	}
}

func TestReport(t *testing.T) {
	l := NewLedger(0)
	conn := func(n int, c Connection) {
		for range n {
			l.ConnOpened()
			l.ConnClosed(c)
		}
	}
	conn(12, Connection{Host: "payments.internal", Protocol: "h2", Fate: Captured})
	conn(3, Connection{Host: "pinned.example", Protocol: "tls", Fate: Passed, Reason: "the client refused our certificate"})
	conn(1, Connection{Host: "bad\x1b[2J.example", Protocol: "raw", Fate: Dropped, Reason: "no such host"})
	l.ConnOpened()
	for i := range 200 {
		e := Entry{Host: "payments.internal", Protocol: "HTTP/2.0", Source: SourceUpstream,
			Upstream: 80 * time.Millisecond, Own: 61 * time.Microsecond,
			Stages: fixtures.OwnTimes{fixtures.StageRead: 11 * time.Microsecond, fixtures.StageWrite: 50 * time.Microsecond}}
		if i%20 == 0 {
			e.Outcome, e.Source, e.Fired, e.Injected = fixtures.OutcomeFault, SourceFault, []string{"payments brown-out"}, time.Second
			e.Delayed, e.DelayError = true, time.Duration(i-20)*time.Microsecond
		}
		l.Finish(&e)
		l.taken()
	}
	for i := range 10 {
		l.Finish(&Entry{Host: fmt.Sprintf("shop-%d.internal", i), Protocol: "HTTP/1.1", Source: SourceHit})
	}
	for i := range 40 {
		p := fixtures.NamePlan{}
		if i%8 == 0 {
			p = fixtures.NamePlan{Fault: fixtures.NameUnknown, Hold: 20 * time.Millisecond, Fired: []string{"flaky resolver"}}
		}
		l.Resolved(&p)
	}
	l.recorded(196)
	for range 3 {
		l.lost(LostQueue)
	}
	s := l.Snapshot()
	check(t, s)
	var got bytes.Buffer
	if err := s.Text(&got); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "report.txt")
	if *update {
		os.MkdirAll("testdata", 0o755)
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("report =\n%s\nwant\n%s", got.String(), want)
	}
	if lines := strings.Count(got.String(), "\n"); lines > 40 {
		t.Errorf("report has %d lines, want one screen", lines)
	}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again Snapshot
	if err := json.Unmarshal(data, &again); err != nil || again.Exchanges.Count != 210 || again.Recording.Lost[LostQueue] != 3 {
		t.Errorf("snapshot through JSON = %+v, %v, want it whole", again, err)
	}
}

func TestEmptyReport(t *testing.T) {
	s := NewLedger(0).Snapshot()
	var b bytes.Buffer
	if err := s.Text(&b); err != nil || strings.Contains(b.String(), "NaN") || strings.Count(b.String(), "\n") != 2 {
		t.Errorf("report of nothing = %q, %v, want two lines", b.String(), err)
	}
}

// A rule that refuses connections is counted like one that touches exchanges.
func TestLedgerCountsRulesOfRefusedConnections(t *testing.T) {
	l := NewLedger(0)
	for range 2 {
		l.ConnOpened()
		l.ConnClosed(Connection{Host: "shut.test", Fate: Refused, Reason: "rule shut", Rule: "shut"})
	}
	l.Finish(&Entry{Host: "shut.test", Fired: []string{"shut"}})
	if got, want := l.Snapshot().Rules, []RuleRow{{Name: "shut", Fired: 3}}; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

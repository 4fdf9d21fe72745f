package app

import (
	"bytes"
	"fmt"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/internal/admin"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/recorder"
)

// raiseQueue is what helps a recording that loses what it has no room for.
const raiseQueue = "raise limits.queue_bytes"

// report tells, at the end, what happened: one screen for people, one event for
// scripts. ran is false where a command could not be run.
func (p *parts) report(ran bool) {
	snap := p.books.ledger.Snapshot()
	var nothing []string
	if ran {
		nothing = p.nothingCaptured(&snap)
	}
	doors := p.reverseHosts()
	untrusting, udp := untrustingClients(&snap, p.roots, doors), byDestination(p.refusedUDP)
	if n := p.recorderStats().Dropped; n > 0 {
		hint := raiseQueue
		if lost := p.recorder.Stats().Dropped; lost[recorder.LostQueue]+lost[recorder.LostBudget] == 0 {
			hint = "raising limits.queue_bytes would not help: the reason is under recorded"
		}
		p.log.Warn("the recording is lossy: traffic went on, but not all of it is in the cassette",
			zap.Int64("dropped", n), zap.String("hint", hint))
	}
	if p.o.JSON {
		fields := map[string]any{"ledger": snap, "misses": p.books.misses.Load(), "seed": fmt.Sprint(p.seed)}
		if clock := timing.Stats(); clock.Ended > 0 {
			fields["clock"] = map[string]any{"precise": clock.Precise, "waits": clock.Ended,
				"late_p50_ns": clock.LatenessP50, "late_p99_ns": clock.LatenessP99}
		}
		if p.output != "" {
			fields["cassette"] = p.output
		}
		if len(nothing) > 0 {
			fields["nothing_captured"] = nothing
		}
		if len(untrusting) > 0 {
			fields["tls_refused"] = untrusting
		}
		if len(udp) > 0 {
			fields["udp_refused"] = udp
		}
		if link := p.linkReport(); link != nil {
			fields["link"] = link
		}
		p.events.Note("report", "", fields)
		return
	}
	var b bytes.Buffer
	if err := snap.Text(&b); err != nil { // a buffer takes all
		return
	}
	if n := p.books.misses.Load(); n > 0 {
		fmt.Fprintf(&b, "\n%s; the latest:\n", plural(int(n), "miss"))
		for _, m := range p.books.missed.Latest(3, func(*admin.Miss) bool { return true }) {
			fmt.Fprintf(&b, "  %s %s", m.Method, withoutQuery(m.URL))
			if m.Nearest != "" {
				fmt.Fprintf(&b, "  nearest %s", m.Nearest)
			}
			if len(m.Differences) > 0 {
				d := m.Differences[0]
				fmt.Fprintf(&b, ": %s: want %q, got %q", d.Field, d.Want, d.Got)
			}
			fmt.Fprintln(&b)
		}
	}
	tellUntrusting(&b, untrusting, p.roots, doors)
	if p.c.Mode == config.ModeRecord {
		tellUnrecorded(&b, &snap)
	}
	tellRefusedUDP(&b, udp)
	b.WriteString(p.linkText())
	if p.c.Mode == config.ModeReplay && p.player != nil {
		if n := len(p.player.unused()); n > 0 {
			exchanges, stubs := p.player.size()
			fmt.Fprintf(&b, "\n%d of %d recorded exchanges and stubs were never asked for\n", n, exchanges+stubs)
		}
	}
	if p.output != "" {
		fmt.Fprintf(&b, "\ncassette %s\n", p.output)
		p.proposals(&b)
	}
	tellNothing(&b, nothing)
	_, _ = p.o.Stderr.Write(b.Bytes())
}

// proposals points out what changed between recordings of the same call, which a replay
// would then miss. Nothing is applied: `understudy cassette volatile` does that.
func (p *parts) proposals(b *bytes.Buffer) {
	c, err := cassette.Open(p.output)
	if err != nil {
		return
	}
	found, err := Volatile(c)
	if err != nil || len(found) == 0 {
		return
	}
	fmt.Fprintf(b, "%d values change between recordings of the same call, such as %s;\n"+
		"a replay misses on them unless they are ignored: understudy cassette volatile %s\n", len(found), DescribeIgnore(found[0].Ignore), p.output)
}

func withoutQuery(url string) string {
	for i := range len(url) {
		if url[i] == '?' {
			return url[:i] + "?…"
		}
	}
	return url
}

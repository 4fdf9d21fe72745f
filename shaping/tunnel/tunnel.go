package tunnel

import (
	"context"
	"fmt"
	"sync"

	"github.com/understudy-proxy/understudy/shaping"
)

// Seeds is the seed of each direction's chances where its conditions have none.
type Seeds func(shaping.Direction) uint64

// Link is a link of which this process carries the packets, under conditions. Its
// methods may be called from several goroutines.
type Link struct {
	seeds     Seeds
	down, up  *pump
	mu        sync.Mutex
	findings  []shaping.Finding
	resolved  shaping.Link
	shaped    map[shaping.Direction]bool // it has or had conditions
	closeOnce sync.Once
}

// pumps are the link's two, by what they carry.
func (l *Link) pumps() map[shaping.Direction]*pump {
	return map[shaping.Direction]*pump{shaping.Down: l.down, shaping.Up: l.up}
}

// Change puts other conditions in force for the packets that come from now on. Those
// that are held are not dropped, and keep their moments.
func (l *Link) Change(_ context.Context, link shaping.Link) error {
	var findings []shaping.Finding
	var resolved shaping.Link
	for _, d := range []shaping.Direction{shaping.Down, shaping.Up} {
		asked := link.Of(d)
		if err := asked.Check(); err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
		if asked.IsZero() {
			continue
		}
		c, how := asked.Resolve()
		if c.Seed == 0 && c.Random() {
			c.Seed = l.seeds(d)
		}
		if how != "" {
			findings = append(findings, shaping.Finding{Direction: d, Name: "limit", Level: shaping.Note, Text: how})
		}
		*resolved.Of(d) = c
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.findings, l.resolved = append(findings, shaping.LintPlain(link)...), resolved
	for d, p := range l.pumps() {
		l.shaped[d] = l.shaped[d] || !resolved.Of(d).IsZero()
		p.change(*resolved.Of(d), l.seeds(d))
	}
	return nil
}

// Restart begins anew with the conditions in force: the decisions about packets to come,
// traces and counters are those of a link through which nothing has passed yet.
func (l *Link) Restart() {
	for _, p := range l.pumps() {
		p.restart()
	}
}

// Counters are what each direction has counted since the beginning, and holds now. The
// bytes are those of Ethernet frames, as a qdisc counts them.
func (l *Link) Counters() (map[shaping.Direction]shaping.Counters, error) {
	out := map[shaping.Direction]shaping.Counters{}
	for d, p := range l.pumps() {
		out[d] = p.counters()
	}
	return out, nil
}

// Conditions are what is in force, resolved and with their seed. A direction that never
// had any is missing.
func (l *Link) Conditions() map[shaping.Direction]shaping.Conditions {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[shaping.Direction]shaping.Conditions{}
	for _, d := range []shaping.Direction{shaping.Down, shaping.Up} {
		if l.shaped[d] {
			out[d] = *l.resolved.Of(d)
		}
	}
	return out
}

// Findings are what there is to say about the conditions in force.
func (l *Link) Findings() []shaping.Finding {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]shaping.Finding(nil), l.findings...)
}

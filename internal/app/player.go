package app

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/match"
	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/fixtures/stub"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/proxy"
)

// player answers from cassettes: each has its own settings and its own salt, so
// each has its own index. The first that has an answer gives it.
type player struct {
	decks            []*match.Player
	exchanges, stubs int
	local            localPorts // for which there may be an answer
}

var _ proxy.Responder = (*player)(nil)

func (p *player) NeedsBody(x *proxy.Exchange) bool {
	return slices.ContainsFunc(p.decks, func(d *match.Player) bool { return d.NeedsBody(&x.Request) })
}

func (p *player) Respond(x *proxy.Exchange) (*fixtures.Answer, error) {
	var nearest *fixtures.MissError
	for _, d := range p.decks {
		answer, err := d.RespondIn(&x.Room, &x.Request, x.Client)
		if err == nil {
			return answer, nil
		}
		miss, ok := errors.AsType[*fixtures.MissError](err)
		if !ok {
			return nil, err
		}
		if nearest == nil || nearest.Nearest == "" || miss.Nearest != "" && len(miss.Differences) < len(nearest.Differences) {
			nearest = miss
		}
	}
	if nearest == nil {
		nearest = &fixtures.MissError{Method: x.Request.Method, URL: x.Request.URL()}
	}
	return nil, nearest
}

// reset puts all scenarios and sequences back to their start and returns how many
// scenarios there are.
func (p *player) reset() int {
	n := 0
	for _, d := range p.decks {
		n += len(d.Scenarios())
		d.Reset()
	}
	return n
}

// unused lists what never answered.
func (p *player) unused() []string {
	var out []string
	for _, d := range p.decks {
		out = append(out, d.Unused()...)
	}
	return out
}

// makePlayer loads the cassettes of a replay.
func (p *parts) makePlayer() error {
	if p.c.Mode != config.ModeReplay || len(p.c.Cassettes) == 0 {
		return nil // one file may serve record and replay
	}
	p.player = &player{}
	for _, path := range p.c.Cassettes {
		c, err := cassette.Open(path)
		if err != nil {
			return BadInput(err)
		}
		for _, w := range c.Warnings {
			p.log.Warn("cassette: " + w.Error())
		}
		ix, err := index(c, p.c.Match, &p.player.local)
		if err != nil {
			return BadInput(err)
		}
		stubs, err := stubsOf(c, &p.player.local)
		if err != nil {
			return BadInput(err)
		}
		for why, n := range ix.Skipped() {
			p.log.Warn("not played", zap.String("cassette", path), zap.String("why", why), zap.Int("exchanges", n))
		}
		deck, err := p.deck(c, ix, stubs)
		if err != nil {
			return BadInput(err)
		}
		p.player.decks = append(p.player.decks, deck)
		p.player.exchanges += ix.Len()
		p.player.stubs += stubs.Len()
	}
	if p.player.stubs >= manyStubs {
		debug.FreeOSMemory()
	}
	return nil
}

// manyStubs is from how many stubs on what reading them left behind, eighty times
// their size, is given back at once: the collector would leave it for minutes.
const manyStubs = 10_000

// index builds the index of one cassette's recordings, under its own settings and those
// of the configuration. What they tell of the loopback is added to local.
func index(c *cassette.Cassette, more cassette.Match, local *localPorts) (*match.Index, error) {
	s := match.Settings{Headers: slices.Concat(c.Manifest.Match.Headers, more.Headers)}
	for _, i := range slices.Concat(c.Manifest.Match.Ignore, more.Ignore) {
		s.Ignore = append(s.Ignore, match.Ignore(i))
	}
	b, err := match.NewBuilder(s)
	if err != nil {
		return nil, &place.Error{File: c.Path, Msg: err.Error()}
	}
	for x, err := range c.Exchanges() {
		if err != nil {
			return nil, err
		}
		if err := b.Add(c.Name, x, c.OpenBody); err != nil {
			return nil, err
		}
		local.addExchange(x)
	}
	return b.Build(), nil
}

// stubsOf files the stubs of one cassette, and adds to local what they tell of the loopback.
func stubsOf(c *cassette.Cassette, local *localPorts) (*match.Stubs, error) {
	stubs, err := stub.Load(c.Stubs...)
	if err != nil {
		return nil, err
	}
	for _, s := range stubs {
		local.addStub(s)
	}
	return match.NewStubs(stubs...), nil
}

func (p *parts) deck(c *cassette.Cassette, ix *match.Index, stubs *match.Stubs) (*match.Player, error) {
	redactors, err := c.Redactors()
	if err != nil {
		return nil, err
	}
	o := match.Options{Repeat: match.Repeat(p.c.Repeat), Seed: timing.MixString(p.seed, c.Name), Now: time.Now}
	for _, r := range redactors {
		o.Redact = append(o.Redact, r.Request)
	}
	return match.NewPlayer(ix, stubs, o)
}

// empirical gives rules the latencies that a cassette recorded for an operation,
// "METHOD path" or "METHOD host path": from the request's last byte to the response's first.
func empirical(path, operation string) (timing.Distribution, error) {
	c, err := cassette.Open(path)
	if err != nil {
		return nil, err
	}
	var samples []time.Duration
	for x, err := range c.Exchanges() {
		if err != nil {
			return nil, err
		}
		if x.Response.Status != 0 && names(operation, &x.Request) {
			samples = append(samples, max(0, x.Times.FirstByte-x.Times.RequestRead))
		}
	}
	if len(samples) == 0 {
		return nil, fmt.Errorf("no exchange of %s is %q", path, operation)
	}
	return timing.Empirical(samples)
}

// names reports whether an operation's name is that of a request.
func names(operation string, r *fixtures.Request) bool {
	return operation == r.Method+" "+r.Path() || operation == r.Method+" "+r.Host+r.Path() || operation == r.Method+" "+r.Host+" "+r.Path()
}

package app

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/match"
	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/internal/timing/station"
	"github.com/understudy-proxy/understudy/proxy"
)

// player answers from cassettes: each has its own settings and its own salt, so
// each has its own index. The first that has an answer gives it.
type player struct {
	exchanges int
	recorded  localPorts // for which there may be a recording
	now       atomic.Pointer[cast]
}

var _ proxy.Responder = (*player)(nil)

// cast is what plays. It does not change: with other stubs there is another one.
type cast struct {
	decks []deck
	stubs int
}

// deck is one cassette's player.
type deck struct {
	*match.Player
	local localPorts // for which a stub may have an answer
	// entrances lead to where answers wait for each other, by fixtures.Answer.Model less
	// one; empty where no timing model is played.
	entrances []entrance
	limits    []*limiter // by which it refuses
}

// entrance leads requests for one operation to its station.
type entrance struct {
	live      *station.Live
	operation int // as the station's Drawer counts
}

// Enter implements fixtures.Entrance.
func (e *entrance) Enter(at time.Time, size int64, tail time.Duration, speed float64) fixtures.Turn {
	return e.live.Enter(at, e.operation, size, tail, speed)
}

// NeedsBody implements proxy.Responder.
func (p *player) NeedsBody(x *proxy.Exchange) bool {
	c := p.now.Load()
	x.Asked = c
	return slices.ContainsFunc(c.decks, func(d deck) bool { return d.NeedsBody(&x.Request) })
}

// Respond implements proxy.Responder.
func (p *player) Respond(x *proxy.Exchange) (*fixtures.Answer, error) {
	c, asked := x.Asked.(*cast)
	if !asked {
		c = p.now.Load()
	}
	var nearest *fixtures.MissError
	for i := range c.decks {
		d := &c.decks[i]
		answer, err := d.RespondIn(&x.Room, &x.Request, x.Client)
		if err == nil {
			if m := int(answer.Model); m > 0 && m <= len(d.entrances) {
				answer.Entrance = &d.entrances[m-1] // it is x's own: stubs alone are shared
			}
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

// mayAnswerOn reports whether there may be an answer on a port of the loopback.
func (p *player) mayAnswerOn(port string) bool {
	return p.recorded.has(port) || slices.ContainsFunc(p.now.Load().decks, func(d deck) bool { return d.local.has(port) })
}

// reset puts all scenarios, sequences and rate limits back to their start and returns how many
// scenarios there are.
func (p *player) reset() int {
	n := 0
	for _, d := range p.now.Load().decks {
		n += len(d.Scenarios())
		d.Reset()
		for _, l := range d.limits {
			l.live.Reset()
		}
	}
	return n
}

// unused lists what never answered.
func (p *player) unused() []string {
	var out []string
	for _, d := range p.now.Load().decks {
		out = append(out, d.Unused()...)
	}
	return out
}

// size is how many exchanges and stubs there are.
func (p *player) size() (exchanges, stubs int) { return p.exchanges, p.now.Load().stubs }

// makePlayer loads the cassettes of a replay.
func (p *parts) makePlayer() error {
	if p.c.Mode != config.ModeReplay || len(p.c.Cassettes) == 0 {
		return nil // one file may serve record and replay
	}
	p.player = &player{}
	c := &cast{}
	for _, path := range p.c.Cassettes {
		d, err := p.open(path)
		if err != nil {
			return BadInput(err)
		}
		c.decks = append(c.decks, d)
	}
	p.player.now.Store(c)
	return BadInput(p.stubFiles.load(p.player))
}

// open makes a cassette's deck, as yet without stubs.
func (p *parts) open(path string) (deck, error) {
	c, err := cassette.Open(path)
	if err != nil {
		return deck{}, err
	}
	for _, w := range c.Warnings {
		p.log.Warn("cassette: " + w.Error())
	}
	served, err := p.makeStations(c)
	if err != nil {
		return deck{}, err
	}
	limits := p.makeLimits(c)
	ix, err := index(c, p.c.Match, &p.player.recorded, func(x *fixtures.Exchange) match.Filing {
		f := limits.of(x)
		if !f.Refused {
			f.Model = served.of(x)
		}
		return f
	})
	if err != nil {
		return deck{}, err
	}
	if err := p.checkLimits(c, &limits, ix.OnlyRefused()); err != nil {
		return deck{}, err
	}
	for why, n := range ix.Skipped() {
		p.log.Warn("not played", zap.String("cassette", path), zap.String("why", why), zap.Int("exchanges", n))
	}
	recorded, err := p.deck(c, ix, limits.limiters)
	if err != nil {
		return deck{}, err
	}
	p.player.exchanges += ix.Len()
	p.stubFiles.add(c)
	return deck{Player: recorded, entrances: served.entrances, limits: limits.live}, nil
}

// index builds the index of one cassette's recordings, under its own settings and those
// of the configuration. What they tell of the loopback is added to local. as says where
// an exchange belongs.
func index(c *cassette.Cassette, more cassette.Match, local *localPorts, as func(x *fixtures.Exchange) match.Filing) (*match.Index, error) {
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
		if err := b.Add(c.Name, x, c.OpenBody, as(x)); err != nil {
			return nil, err
		}
		local.addExchange(x)
	}
	return b.Build(), nil
}

func (p *parts) deck(c *cassette.Cassette, ix *match.Index, limits []match.Limiter) (*match.Player, error) {
	redactors, err := c.Redactors()
	if err != nil {
		return nil, err
	}
	o := match.Options{Repeat: match.Repeat(p.c.Repeat), Seed: timing.MixString(p.seed, c.Name), Now: time.Now, Limits: limits}
	for _, r := range redactors {
		o.Redact = append(o.Redact, r.Request)
	}
	return match.NewPlayer(ix, nil, o)
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

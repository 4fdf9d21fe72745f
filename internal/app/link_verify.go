package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/probes"
	"github.com/understudy-proxy/understudy/shaping/verify"
)

// prober sends what the plans say through the link, and returns what came of it.
type prober func(context.Context, map[shaping.Direction]verify.Plan) (map[shaping.Direction]verify.Samples, error)

// verifyLink holds what the link does against what was asked of it, where that is wanted.
// The error says that they disagree: then the command is not to start.
func (p *parts) verifyLink(ctx context.Context, g *gateway.Gateway) error {
	if p.shaped == nil || !p.c.Link.Verify {
		return nil
	}
	down, up := g.Probes()
	defer down.Socket.Close()
	defer up.Socket.Close()
	// There is no command yet whose affair signals would be.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	round := uint64(os.Getpid()) << 32
	return p.verifyBy(ctx, p.shaped.carried, func(ctx context.Context, plans map[shaping.Direction]verify.Plan) (map[shaping.Direction]verify.Samples, error) {
		round++
		return probes.Run(ctx, probes.End(down), probes.End(up), plans, round)
	})
}

// rounds is how often a link is probed that disagrees: one that does so because the
// machine was busy is given a second chance.
const rounds = 2

// classed leads probes through a class of the link, "" for none.
type classed interface{ Probe(class string) }

// verifyBy probes the link itself, and then each of its classes.
func (p *parts) verifyBy(ctx context.Context, lead classed, probe prober) error {
	s := p.shaped
	start := time.Now()
	var sum verify.Report
	for _, part := range append([]shaping.LinkClass{{Link: s.asked.link}}, s.asked.classes...) {
		if part.Name != "" {
			lead.Probe(part.Name)
		}
		r, err := verifyPart(ctx, part, s.engine, probe)
		if err != nil {
			if ctx.Err() != nil {
				err = errors.New("it was interrupted")
			}
			return fmt.Errorf("link: verify: %w; the command was not started", err)
		}
		rows, sent, most := append(sum.Rows, r.Rows...), sum.Probes+r.Probes, max(sum.Rounds, r.Rounds)
		sum = verify.Sum(rows, sent, most, time.Since(start))
	}
	if len(s.asked.classes) > 0 {
		lead.Probe("")
	}
	return p.verified(sum)
}

// verifyPart probes one class, or the link itself.
func verifyPart(ctx context.Context, part shaping.LinkClass, engine config.LinkEngine, probe prober) (verify.Report, error) {
	plans := map[shaping.Direction]verify.Plan{}
	asked := map[shaping.Direction]verify.Asked{}
	for _, d := range directions {
		c, _ := part.Link.Of(d).Resolve()
		if part.Link.Of(d).IsZero() {
			c = shaping.Conditions{}
		}
		plans[d] = verify.PlanFor(c)
		asked[d] = verify.Asked{Class: part.Name, Direction: d, Conditions: c, PerPacket: engine == config.EngineNetem}
	}
	start := time.Now()
	sent := 0
	var r verify.Report
	for round := 1; round <= rounds && !r.Agrees; round++ {
		got, err := probe(ctx, plans)
		if err != nil {
			return r, err
		}
		var rows []verify.Row
		for _, d := range directions {
			sent += got[d].Sent + got[d].TrainSent
			rows = append(rows, verify.Judge(asked[d], got[d])...)
		}
		r = verify.Sum(rows, sent, round, time.Since(start))
	}
	return r, nil
}

// verified tells what came of it, and returns an error where the link does not do what was
// asked.
func (p *parts) verified(r verify.Report) error {
	s := p.shaped
	s.verified = &r
	what := fmt.Sprintf("%d packets in %.1f s", r.Probes, r.Seconds)
	fields := map[string]any{"engine": s.engine, "agrees": r.Agrees, "rows": r.Rows, "probes": r.Probes, "seconds": r.Seconds, "rounds": r.Rounds}
	if !r.Agrees {
		p.events.Note("link_verified", "", fields)
		return fmt.Errorf("link: verify: %s say that it does not do what was asked\n%shint: the command was not started; "+
			"where the machine is just too busy, without --verify it is", what, r.Text())
	}
	p.events.Note("link_verified", strings.TrimRight(fmt.Sprintf("link verified (%s), %s\n%s", s.engine, what, r.Text()), "\n"), fields)
	if again, can := s.inForce.(interface{ Restart() }); can {
		again.Restart() // the command's packets meet the decisions that they would have without
	}
	return nil
}

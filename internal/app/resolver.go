package app

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/rules"
)

// resolver lets the rules decide about the names that a captured command resolves.
type resolver struct {
	engine *rules.Engine
	books  *books
	log    *zap.Logger
	start  time.Time // zero of the run's clock
}

// Resolve implements gateway.Resolver.
func (r *resolver) Resolve(ctx context.Context, q gateway.Question) gateway.Reply {
	begin := time.Now()
	p := r.engine.Resolve(&rules.Lookup{Name: q.Name, Type: q.Type, Elapsed: begin.Sub(r.start)})
	if !p.Again {
		r.books.resolved(&p)
		if len(p.Fired) > 0 {
			r.log.Info("rule fired", zap.Strings("rules", p.Fired), zap.String("name", q.Name))
		}
	}
	if p.Hold > 0 && timing.SleepUntil(ctx, nil, begin.Add(p.Hold)) != nil {
		return gateway.Silence // the run is over
	}
	switch p.Fault {
	case fixtures.NameUnknown:
		return gateway.NoSuchName
	case fixtures.NameFails:
		return gateway.ServerFails
	case fixtures.NameTimeout:
		return gateway.Silence
	}
	return gateway.MakeUp
}

package app

import (
	"context"
	"runtime"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/understudy-proxy/understudy/internal/width"
	"github.com/understudy-proxy/understudy/proxy/sock"
)

// keepWidth keeps Go's scheduler as wide as the machine can spare until ctx ends, in
// a goroutine of keep; the books tell it when work begins, so nothing may be served
// before. Where that is not to be, or cannot be, the width is the runtime's: nothing
// depends on it but speed, so it is no error.
func (p *parts) keepWidth(ctx context.Context, keep *errgroup.Group) {
	work := width.Work{Done: p.books.finished.Load, Batch: sock.Batch}
	keeper, err := width.New(work, func(c width.Change) {
		if e := p.log.Check(zap.DebugLevel, "scheduler's width"); e != nil {
			e.Write(zap.Int("processors", c.Width), zap.Bool("narrow", c.Narrow), zap.Float64("idle", c.Idle), zap.Float64("used", c.Used), zap.Bool("batch", c.Batch), zap.Float64("switches", c.Switches))
		}
	})
	if err != nil {
		p.leftWidth(err)
		return
	}
	p.books.wake = keeper.Wake
	keep.Go(func() error {
		if err := keeper.Run(ctx); err != nil {
			p.leftWidth(err)
		}
		return nil
	})
}

func (p *parts) leftWidth(err error) {
	p.log.Debug("the scheduler's width is left as it is", zap.Int("processors", runtime.GOMAXPROCS(0)), zap.Error(err))
}

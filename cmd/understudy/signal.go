package main

import (
	"context"
	"sync/atomic"
	"syscall"

	"github.com/understudy-proxy/understudy/internal/app"
)

// untilSignal returns a context that ends with the first signal to end, and
// which it was, 0 for none. A second one ends the process at once: see
// app.HeedSignals.
func untilSignal(ctx context.Context) (until context.Context, signalled func() syscall.Signal, stop func()) {
	until, cancel := context.WithCancel(ctx)
	var came atomic.Int32
	ignore := app.HeedSignals(func(s syscall.Signal) {
		came.Store(int32(s))
		cancel()
	})
	return until, func() syscall.Signal { return syscall.Signal(came.Load()) }, func() {
		ignore()
		cancel()
	}
}

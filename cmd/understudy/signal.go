package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilSignal returns a context that ends with the first SIGINT or SIGTERM, and
// which of them it was, 0 for none. The second one ends the process at once.
func untilSignal(ctx context.Context) (until context.Context, signalled func() syscall.Signal, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	until, cancel := context.WithCancel(ctx)
	came := make(chan syscall.Signal, 1)
	go func() { // ends with a signal, or stop
		defer close(came)
		select {
		case s := <-signals:
			signal.Stop(signals)
			came <- s.(syscall.Signal)
			cancel()
		case <-until.Done():
		}
	}()
	return until, func() syscall.Signal {
			if until.Err() == nil {
				return 0
			}
			return <-came
		}, func() {
			signal.Stop(signals)
			cancel()
		}
}

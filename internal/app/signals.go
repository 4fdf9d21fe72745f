package app

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// sameSignal is how soon after the first a signal is taken for the same one: timeout(1)
// sends it to its child and to the group, a terminal to the group whose leader passes it on.
const sameSignal = 300 * time.Millisecond

// HeedSignals calls first for the first SIGINT, SIGTERM or, where that is not ignored as
// nohup(1) does, SIGHUP, on a goroutine of its own, and exits with 128 and its number at one
// that comes 300 ms or later after it, until stop is called.
func HeedSignals(first func(s syscall.Signal)) (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	done := make(chan struct{})
	go heed(signals, done, first, func(s syscall.Signal) { os.Exit(128 + int(s)) }) // ends with stop
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// heed calls first for the first of signals, and second for those that come sameSignal or
// later after it, until done is closed.
func heed(signals <-chan os.Signal, done <-chan struct{}, first, second func(syscall.Signal)) {
	var since time.Time
	for {
		select {
		case s := <-signals:
			switch s := s.(syscall.Signal); {
			case since.IsZero():
				since = time.Now()
				first(s)
			case time.Since(since) >= sameSignal:
				second(s)
			}
		case <-done:
			return
		}
	}
}

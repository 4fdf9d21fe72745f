package sock

import (
	"runtime"
	"sync/atomic"
)

var batch atomic.Bool

// Batch has, from now on, whoever is about to write by ReadAfter or WriteWithin let
// others run first that are ready to, most of whom are about to write, too: first all
// requests go out, then all answers. So what one receiver gets is written closely
// together, and it is woken for the first of it and finds the rest there. That is of use on one
// processor of Go's, busy beside others that are not; else it costs a little and gains
// nothing. It is the whole program's; at first it is off.
func Batch(on bool) { batch.Store(on) }

// How often who is about to write lets others come first, where there are batches.
const (
	asking    = 1 // all that are ready come to their writes
	answering = 2 // and then those that ask have written
)

// giveWay lets others come first where there are batches. Who called it runs
// again before the netpoller is asked for more: each waits once for each write.
func giveWay(times int) {
	if batch.Load() {
		for range times {
			runtime.Gosched()
		}
	}
}

package sock

import (
	"runtime"
	"sync/atomic"
)

var batch atomic.Bool

// Batch has, from now on, whoever is about to write by ReadAfter or WriteWithin let
// others run first that are ready to, most of whom are about to write, too. So what
// they write goes out closely together, and who receives it is woken for the first of
// it and finds the rest there. That is of use on one processor of Go's, busy beside
// others that are not; else it costs a little and gains nothing. It is the whole
// program's; at first it is off.
func Batch(on bool) { batch.Store(on) }

// giveWay lets others come first where there are batches. Who called it runs
// again before the netpoller is asked for more: each waits once for each write.
func giveWay() {
	if batch.Load() {
		runtime.Gosched()
	}
}

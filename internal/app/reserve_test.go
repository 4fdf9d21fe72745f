package app

import (
	"runtime"
	"testing"
)

func TestReserveComesWithTheFirstCollection(t *testing.T) {
	r := holdReserve()
	runtime.GC()
	for r.held.Load() == nil { // a cleanup runs soon after
		runtime.Gosched()
	}
	runtime.KeepAlive(r)
}

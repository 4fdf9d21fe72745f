package app

import (
	"runtime"
	"runtime/debug"
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

// The first collection is put off, and those after it come as ever.
func TestFirstCollectionIsPutOff(t *testing.T) {
	usual := untilFirst()
	if usual < 0 || usual > 400 {
		t.Skipf("GOGC=%d says how often", usual)
	}
	now := func() int {
		p := debug.SetGCPercent(usual)
		debug.SetGCPercent(p)
		return p
	}
	debug.SetGCPercent(400) // as untilFirst did: another test's collection may have come
	r := holdReserve()
	if now() != 400 {
		t.Errorf("a collection at %d %%, want 400 before the first", now())
	}
	runtime.GC()
	for r.held.Load() == nil || now() != usual {
		runtime.Gosched()
	}
	runtime.KeepAlive(r)
}

package timing

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestRearm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		call := func() { calls++ }
		var timer *time.Timer
		for want := 1; want <= 3; want++ {
			made := timer
			timer = Rearm(timer, time.Second, call)
			if made != nil && timer != made {
				t.Error("Rearm made a second timer")
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if calls != want {
				t.Errorf("%d calls, want %d", calls, want)
			}
		}
	})
}

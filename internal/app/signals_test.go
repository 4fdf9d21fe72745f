package app

import (
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// timeout(1) sends its signal twice, at once; that must not cost a recording its end.
func TestSignalSentTwiceIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals, done := make(chan os.Signal, 2), make(chan struct{})
		var first, second int
		go heed(signals, done, func(syscall.Signal) { first++ }, func(syscall.Signal) { second++ }) // ends with done
		signals <- syscall.SIGTERM
		synctest.Wait()
		signals <- syscall.SIGTERM
		synctest.Wait()
		if first != 1 || second != 0 {
			t.Errorf("sent twice at once: first %d, second %d; want 1 and 0", first, second)
		}
		time.Sleep(sameSignal)
		signals <- syscall.SIGINT
		synctest.Wait()
		if first != 1 || second != 1 {
			t.Errorf("sent again later: first %d, second %d; want 1 and 1", first, second)
		}
		close(done)
	})
}

//go:build linux

package sock

import (
	"io"
	"runtime"
	"sync"
	"testing"
	"time"
)

// In batches nobody's write goes out before all that are ready have come to theirs, but
// where the scheduler has it otherwise, as it does for one in 61: so of some rounds one
// has to be in order, which none is without batches.
func TestBatch(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	Batch(true)
	defer Batch(false)
	answer := func(c *Conn, ready func()) (sent time.Time) {
		err := c.Each(make(room, 16), func(int) bool {
			ready()
			_, err := c.WriteWithin([]byte("x"))
			sent = time.Now()
			return err != nil
		})
		if err != nil {
			t.Error(err)
		}
		return sent
	}
	ask := func(c *Conn, ready func()) time.Time {
		ready()
		_, sent, err := c.ReadAfter([]byte("x"), make(room, 16))
		if err != nil {
			t.Error(err)
		}
		return sent.At
	}
	for name, serve := range map[string]func(c *Conn, ready func()) (sent time.Time){"answers": answer, "requests": ask} {
		t.Run(name, func(t *testing.T) {
			const all, rounds = 8, 50
			for range rounds {
				if first, last := batched(t, all, serve); !first.Before(last) {
					return
				}
			}
			t.Errorf("in each of %d rounds a write went out before the last of %d was ready", rounds, all)
		})
	}
}

// batched has serve called for all connections at once, to each of which the other side
// has sent a byte and sends another when it has one, and returns when the first was sent
// and the last ready.
func batched(t *testing.T, all int, serve func(c *Conn, ready func()) time.Time) (first, last time.Time) {
	t.Helper()
	readyAt, sentAt := make([]time.Time, all), make([]time.Time, all)
	conns := make([]*Conn, all)
	var peers, served sync.WaitGroup
	for i := range all {
		c, peer := pair(t)
		if !c.Steady() {
			t.Skip("the kernel does not tell what is left to be read")
		}
		conns[i] = c
		_, _ = io.WriteString(peer, "q")
		peers.Go(func() {
			_, _ = peer.Read(make([]byte, 1))
			_, _ = io.WriteString(peer, "a")
		})
	}
	for i, c := range conns {
		served.Go(func() { sentAt[i] = serve(c, func() { readyAt[i] = time.Now() }) })
	}
	served.Wait()
	peers.Wait()
	first, last = sentAt[0], readyAt[0]
	for i := range all {
		if sentAt[i].Before(first) {
			first = sentAt[i]
		}
		if readyAt[i].After(last) {
			last = readyAt[i]
		}
	}
	return first, last
}

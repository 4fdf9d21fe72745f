//go:build linux

package sock

import (
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// In batches nobody's write goes out before all that are ready have come to theirs, and no
// answer before their requests, but where the scheduler has it otherwise, as it does for one in 61: so of some rounds one
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
	const all, rounds = 8, 50
	before := func(first, last time.Time) bool { return !first.Before(last) }
	for name, c := range map[string]struct {
		serve func(i int) func(*Conn, func()) time.Time
		ok    func(readyAt, sentAt []time.Time) bool
	}{
		"answers": {
			func(int) func(*Conn, func()) time.Time { return answer },
			func(readyAt, sentAt []time.Time) bool { return before(earliest(sentAt), latest(readyAt)) },
		},
		"requests": {
			func(int) func(*Conn, func()) time.Time { return ask },
			func(readyAt, sentAt []time.Time) bool { return before(earliest(sentAt), latest(readyAt)) },
		},
		"requests, then answers": {
			func(i int) func(*Conn, func()) time.Time {
				if i%2 == 0 {
					return answer
				}
				return ask
			},
			func(_, sentAt []time.Time) bool {
				var answers, requests []time.Time
				for i := 0; i < all; i += 2 {
					answers, requests = append(answers, sentAt[i]), append(requests, sentAt[i+1])
				}
				return before(earliest(answers), latest(requests))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range rounds {
				if c.ok(batched(t, all, c.serve)) {
					return
				}
			}
			t.Errorf("in none of %d rounds the writes of %d were in order", rounds, all)
		})
	}
}

func earliest(times []time.Time) time.Time { return slices.MinFunc(times, time.Time.Compare) }
func latest(times []time.Time) time.Time   { return slices.MaxFunc(times, time.Time.Compare) }

// batched serves all connections at once, each of which has got a byte from its other side
// and gets another when that has one, and returns when each was ready to write and when it
// had written.
func batched(t *testing.T, all int, serve func(i int) func(c *Conn, ready func()) time.Time) (readyAt, sentAt []time.Time) {
	t.Helper()
	readyAt, sentAt = make([]time.Time, all), make([]time.Time, all)
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
		served.Go(func() { sentAt[i] = serve(i)(c, func() { readyAt[i] = time.Now() }) })
	}
	served.Wait()
	peers.Wait()
	return readyAt, sentAt
}

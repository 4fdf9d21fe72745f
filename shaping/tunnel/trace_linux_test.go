package tunnel_test

import (
	"os"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
)

// A trace's opportunities come to pass over real devices: a full packet takes one, is
// never there before it, and half of them are there before the next one. A machine that
// is busy for longer than an opportunity has three tries.
func TestRealTrace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make devices outside of a capture")
	}
	const apart, n = 40 * time.Millisecond, 15
	trace, err := shaping.ParseTrace("cell", []byte("40\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range []string{"tun", "between"} {
		t.Run(engine, func(t *testing.T) {
			w := newWay(t, engine)
			inTime := 0
			for range 3 {
				w.change(shaping.Conditions{}) // the next one begins anew
				from := time.Now()
				w.change(shaping.Conditions{Trace: trace, Limit: 2 * n})
				to := time.Now()
				began := time.Now()
				got := send(t, []*way{w}, load{count: n, size: 1472})[0]
				if len(got) != n {
					t.Fatalf("%d of %d packets came", len(got), n)
				}
				inTime = 0
				first := began.Sub(from)/apart + 1 // the opportunity of the first, at the earliest
				for i, a := range got {
					after := a.at + began.Sub(to) // since the trace began, at the least
					if a.seq != i || a.at+began.Sub(from) < (first+time.Duration(i))*apart-earliest {
						t.Fatalf("packet %d came in the place of %d, %v after the trace began, want opportunity %d", a.seq, i, after, int(first)+i)
					}
					if after < (first+time.Duration(i)+1)*apart {
						inTime++
					}
				}
				t.Logf("%d of %d packets came within one opportunity", inTime, n)
				if inTime > n/2 {
					return
				}
			}
			t.Errorf("%d of %d packets came within one opportunity, want half of them at least", inTime, n)
		})
	}
}

package probes

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// end is a raw socket on the loopback.
func end(t *testing.T, address string) End {
	t.Helper()
	c, err := net.ListenIP("ip4:icmp", &net.IPAddr{IP: net.ParseIP(address)})
	if err != nil {
		t.Skipf("this user may not open raw sockets: %v", err)
	}
	defer func() { _ = c.Close() }()
	f, err := c.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return End{f, netip.MustParseAddr(address)}
}

// Over a way without a link all comes, each to its own direction.
func TestRunOverTheLoopback(t *testing.T) {
	plan := verify.Plan{Probes: 50, Every: time.Millisecond, Train: 20, TrainSize: 1500, TrainEvery: 100 * time.Microsecond, Wait: 5 * time.Second}
	plans := map[shaping.Direction]verify.Plan{shaping.Down: plan, shaping.Up: plan}
	got, err := Run(t.Context(), end(t, "127.0.0.1"), end(t, "127.0.0.2"), plans, uint64(os.Getpid())<<32)
	if err != nil {
		t.Fatal(err)
	}
	for d, s := range got {
		if s.Sent == 0 || len(s.Delays) != s.Sent || s.TrainSent != 20 || len(s.Train) != 20 || s.Missed != 0 || s.Over <= 0 || s.TrainOver <= 0 {
			t.Errorf("%s: %d of %d came, of the train %d of %d, %d missed", d, len(s.Delays), s.Sent, len(s.Train), s.TrainSent, s.Missed)
		}
		for _, a := range s.Train {
			if a.Size != 1500 {
				t.Errorf("%s: a packet of %d bytes, want 1500", d, a.Size)
			}
		}
		for _, took := range s.Delays {
			if took < 0 {
				t.Errorf("%s: a packet took %v", d, took)
			}
		}
	}
	if len(got) != 2 {
		t.Errorf("%d directions, want 2", len(got))
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	plan := verify.Plan{Probes: 1 << 20, Every: time.Second, Wait: time.Hour}
	plans := map[shaping.Direction]verify.Plan{shaping.Down: plan, shaping.Up: plan}
	if _, err := Run(ctx, end(t, "127.0.0.1"), end(t, "127.0.0.2"), plans, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want context.Canceled", err)
	}
}

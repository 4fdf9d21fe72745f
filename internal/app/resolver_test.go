package app

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/internal/telemetry"
	"github.com/understudy-proxy/understudy/recorder"
)

func TestResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, engine := doorRules(t, `rules:
- {name: gone, when: dns.name == "gone.test", fault: {dns: nxdomain}}
- {name: fails, when: dns.name == "fails.test", delay: 2s, fault: {dns: servfail}}
- {name: silent, when: dns.name == "silent.test", fault: {dns: timeout}}
- {name: slow, when: dns.name == "slow.test", delay: 300ms}
`)
		b := &books{ledger: recorder.NewLedger(0), metrics: telemetry.NewMetrics(telemetry.Options{})}
		r := &resolver{engine, b, zap.NewNop(), p.start}
		for _, c := range []struct {
			name string
			want gateway.Reply
			wait time.Duration
		}{
			{"other.test", gateway.MakeUp, 0},
			{"gone.test", gateway.NoSuchName, 0},
			{"fails.test", gateway.ServerFails, 2 * time.Second},
			{"silent.test", gateway.Silence, 0},
			{"slow.test", gateway.MakeUp, 300 * time.Millisecond},
		} {
			for _, kind := range []uint16{1, 28} { // A and AAAA: one resolution
				begin := time.Now()
				got := r.Resolve(t.Context(), gateway.Question{Name: c.name, Type: kind})
				if waited := time.Since(begin); got != c.want || waited != c.wait {
					t.Errorf("Resolve(%s) = %d after %s, want %d after %s", c.name, got, waited, c.want, c.wait)
				}
			}
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if got := r.Resolve(ended, gateway.Question{Name: "slow.test", Type: 1}); got != gateway.Silence {
			t.Errorf("Resolve once the run is over = %d, want silence", got)
		}
		s := b.ledger.Snapshot()
		if n := s.Names; n.Asked != 6 || n.Refused[fixtures.NameUnknown] != 1 || n.Refused[fixtures.NameFails] != 1 ||
			n.Refused[fixtures.NameTimeout] != 1 || n.Delayed != 3 || n.Injected != 2600*time.Millisecond {
			t.Errorf("names = %+v, want 6 asked, one refused each way, 3 delayed by 2.6s in all", n)
		}
		if len(s.Rules) != 4 || s.Rules[0] != (recorder.RuleRow{Name: "slow", Fired: 2}) {
			t.Errorf("rules = %+v, want slow twice and three more", s.Rules)
		}
	})
}

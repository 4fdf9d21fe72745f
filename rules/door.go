package rules

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// Arrival is a connection at the door, before a request is read.
type Arrival struct {
	Conn     uint64 // the connection's number; 0 where it has none
	Client   string // the client's address without its port
	Door     string // the listener it came through
	Host     string // whom it is for, with or without port; "" while unknown
	InFlight int
	Rate     float64
	Elapsed  time.Duration
}

// Door decides whether to let a connection in, and by which rule not. It may be
// called several times for a connection, as its host becomes known: a rule that
// asks for request.host is decided once for each host, any other rule once.
func (e *Engine) Door(a *Arrival) (fixtures.Refusal, string) {
	l := e.live.Load()
	if e.off.Load() || len(l.set.door) == 0 {
		return fixtures.RefuseNone, ""
	}
	host := hostOf(a.Host)
	firstCall, firstHost := e.calls.note(a.Conn, host)
	if !firstCall && !firstHost {
		return fixtures.RefuseNone, ""
	}
	s := scopeFor(&Input{
		Request: &fixtures.Request{Host: a.Host}, Client: a.Client, Door: a.Door,
		InFlight: a.InFlight, Rate: a.Rate, Elapsed: a.Elapsed,
	})
	defer s.release()
	identity := doorIdentity(a.Client, host)
	exchange := timing.Mix(e.seed, identity, e.seen.next(identity))
	for _, i := range l.set.door {
		u := l.set.rules[i]
		if u.uses&usesHost != 0 {
			if host == "" || !firstHost || !u.guards.admitsHost(host) {
				continue
			}
		} else if !firstCall {
			continue
		}
		if e.decide(u, l.states[i], s, exchange, func() bool { return true }) {
			return u.effects.refuse, u.name
		}
	}
	return fixtures.RefuseNone, ""
}

// recent remembers the latest connections that came to the door. Numbers are
// given in order, so one is forgotten only after 4096 others came.
type recent [1 << 12]struct{ conn, host atomic.Uint64 }

// note reports whether this is the first call for conn, and the first with a
// host, or with this host.
func (r *recent) note(conn uint64, host string) (firstCall, firstHost bool) {
	if conn == 0 {
		return true, host != ""
	}
	slot := &r[conn%uint64(len(r))]
	firstCall = slot.conn.Swap(conn) != conn
	if host == "" {
		return firstCall, false
	}
	mark := timing.MixString(conn, strings.ToLower(host))
	return firstCall, slot.host.Swap(mark) != mark
}

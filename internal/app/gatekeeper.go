package app

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/proxy/wire"
	"github.com/understudy-proxy/understudy/rules"
)

// gatekeeper lets the rules refuse a captured command's connections before they
// are made, so that the command sees ECONNREFUSED, and remembers what was decided
// until the connection comes to the door: a rule is asked once.
type gatekeeper struct {
	engine *rules.Engine
	start  time.Time // zero of the run's clock

	mu    sync.Mutex
	last  uint64
	asked map[ends]*asked
}

// ends tell connections apart while they last.
type ends struct{ from, to netip.AddrPort }

// asked is a connection about which the rules were asked before it was made.
type asked struct {
	number  uint64 // its number for the rules
	refusal fixtures.Refusal
	rule    string
	came    bool // to the door
}

// unclaimed bounds how many connections are remembered that may never come:
// their client has gone before they were made.
const unclaimed = 8192

// admit asks the rules about a connection to host before it is made.
func (k *gatekeeper) admit(conn gateway.Connection, host string) (fixtures.Refusal, string) {
	key := ends{conn.From, conn.To}
	k.mu.Lock()
	if a := k.asked[key]; a != nil && !a.came { // its first packet was sent again
		k.mu.Unlock()
		return fixtures.RefuseNone, ""
	}
	k.last++
	a := &asked{number: k.last}
	k.mu.Unlock()

	a.refusal, a.rule = k.engine.Door(&rules.Arrival{
		Conn: askedFirst(a.number), Client: conn.From.Addr().String(), Door: doorOfCommand, Host: host, Elapsed: time.Since(k.start),
	})
	if a.refusal == fixtures.RefuseConnection {
		return a.refusal, a.rule // it never comes
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.asked) >= unclaimed {
		for key, a := range k.asked {
			if !a.came {
				delete(k.asked, key)
			}
		}
	}
	if k.asked == nil {
		k.asked = map[ends]*asked{}
	}
	k.asked[key] = a
	return fixtures.RefuseNone, ""
}

// arrived is what was decided about a connection before it came to the door, and
// its number for the rules.
func (k *gatekeeper) arrived(c *wire.Conn) (number uint64, refusal fixtures.Refusal, rule string) {
	if key, ok := k.endsOf(c); ok {
		k.mu.Lock()
		defer k.mu.Unlock()
		if a := k.asked[key]; a != nil {
			if !a.came {
				refusal, rule = a.refusal, a.rule
			}
			a.came = true
			return askedFirst(a.number), refusal, rule
		}
	}
	return askedAtDoor(c.ID), fixtures.RefuseNone, ""
}

// left forgets a connection that has ended.
func (k *gatekeeper) left(c *wire.Conn) {
	if key, ok := k.endsOf(c); ok {
		k.mu.Lock()
		defer k.mu.Unlock()
		if a := k.asked[key]; a != nil && a.came {
			delete(k.asked, key)
		}
	}
}

// The rules know a connection by one number, wherever they were asked first.
func askedFirst(n uint64) uint64   { return 2*n + 1 }
func askedAtDoor(id uint64) uint64 { return 2 * id }

// endsOf is not ok for a connection that is not the command's.
func (k *gatekeeper) endsOf(c *wire.Conn) (e ends, ok bool) {
	if k == nil || c.Door != doorOfCommand {
		return e, false
	}
	from, fromOK := c.Client.(*net.TCPAddr)
	to, toOK := c.Local.(*net.TCPAddr)
	if !fromOK || !toOK {
		return e, false
	}
	return ends{unmapped(from), unmapped(to)}, true
}

func unmapped(a *net.TCPAddr) netip.AddrPort {
	at := a.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// nobodyThere books a connection to a port of the loopback on which neither the
// command nor the host listens: a dead dependency, or one that is waited for. In a replay
// that is so where nothing was recorded.
func (p *parts) nobodyThere(conn gateway.Connection) {
	why := "nothing listens there"
	if p.replays() && p.c.OnMiss == config.MissFail {
		why = "nothing listens there in the command's network, and nothing was recorded there; --on-miss forward asks the host"
	}
	p.books.refused(conn.From.Addr().String(), hostFor(conn.To, conn.Host), why, "")
}

// asks reports whether connections of the command are asked about: there are rules,
// or may come to be, or there may be nobody behind what is replayed.
func (p *parts) asks() bool { return len(p.places) > 0 || p.replays() }

// reachable reports whether a connection of the command can be made, as far as that can
// be known before: to the loopback where something listens, or is replayed.
func (p *parts) reachable(ctx context.Context, conn gateway.Connection) gateway.Admission {
	switch {
	case !p.replays():
		return gateway.IfListening(ctx, conn)
	case !conn.Loopback, p.player == nil, p.player.mayAnswerOn(strconv.Itoa(int(conn.To.Port()))):
		return gateway.Admit
	case p.c.OnMiss == config.MissFail:
		return gateway.Refuse
	}
	return gateway.IfListening(ctx, conn)
}

// admission is what the gateway asks before a connection of the command is made.
// nil leaves it to the gateway: there is nothing to ask, and asking takes time.
func (p *parts) admission() func(context.Context, gateway.Connection) gateway.Admission {
	if !p.asks() {
		return nil
	}
	return func(ctx context.Context, conn gateway.Connection) gateway.Admission {
		if a := p.reachable(ctx, conn); a != gateway.Admit {
			p.nobodyThere(conn)
			return a
		}
		if len(p.places) == 0 {
			return gateway.Admit
		}
		host := hostFor(conn.To, conn.Host)
		refusal, rule := p.gate.admit(conn, host)
		if refusal != fixtures.RefuseConnection {
			return gateway.Admit
		}
		p.books.refused(conn.From.Addr().String(), host, "rule "+rule, rule)
		return gateway.Refuse
	}
}

package app

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/proxy/wire"
	"github.com/understudy-proxy/understudy/rules"
)

// doorRules returns a planner with some rules, and the engine.
func doorRules(t *testing.T, text string) (planner, *rules.Engine) {
	t.Helper()
	set, err := rules.Parse([]rules.Source{{Name: "rules.yaml", Data: []byte(text)}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	engine := rules.NewEngine(7, nil)
	engine.Swap(set)
	start := time.Now()
	return planner{engine, start, &gatekeeper{engine: engine, start: start}, nil}, engine
}

var shop = netip.MustParseAddrPort("198.18.0.1:443")

func commandConn(id uint64) (gateway.Connection, *wire.Conn) {
	from := netip.AddrPortFrom(netip.MustParseAddr("198.19.255.2"), uint16(1024+id))
	return gateway.Connection{From: from, To: shop, Host: "shop.test"},
		&wire.Conn{ID: id, Door: doorOfCommand, Client: net.TCPAddrFromAddrPort(from), Local: net.TCPAddrFromAddrPort(shop)}
}

// A rule is asked once for a connection, and decides the same before the handshake
// as it would at the door.
func TestAskedOnceAndTheSame(t *testing.T) {
	const text = `rules:
- {name: any, chance: 0.3, fault: {refuse: connection}}
- {name: host, chance: 0.3, when: request.host == "shop.test", fault: {refuse: connection}}
- {name: tls, chance: 0.3, when: request.host == "shop.test", fault: {refuse: tls}}
`
	const host, n = "shop.test:443", 60
	atDoor, doorEngine := doorRules(t, text)
	before, beforeEngine := doorRules(t, text)
	var want, got []string
	for i := range uint64(n) {
		conn, c := commandConn(i + 1)
		refusal, rule := atDoor.Door(c, host)
		if refusal != fixtures.RefuseConnection {
			if r, by := atDoor.Door(c, "shop.test"); r != fixtures.RefuseNone { // the TLS server name
				refusal, rule = r, by
			}
		}
		want = append(want, fmt.Sprint(refusal, " ", rule))

		refusal, rule = before.gate.admit(conn, host)
		if refusal != fixtures.RefuseConnection {
			if again, _ := before.gate.admit(conn, host); again != fixtures.RefuseNone {
				t.Errorf("connection %d: asked again when its first packet came again", i)
			}
			refusal, rule = before.Door(c, host)
			if r, by := before.Door(c, "shop.test"); r != fixtures.RefuseNone {
				refusal, rule = r, by
			}
			before.gate.left(c)
		}
		got = append(got, fmt.Sprint(refusal, " ", rule))
	}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("before the handshake:\n%q\nat the door:\n%q", got, want)
	}
	for _, kind := range []string{" any", "connection host", "tls tls", " "} {
		if !strings.Contains(strings.Join(want, ",")+",", kind) {
			t.Errorf("the sample shows no %q; it proves little", kind)
		}
	}
	a, b := doorEngine.Rules(), beforeEngine.Rules()
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("rule %+v at the door, %+v before the handshake", a[i], b[i])
		}
	}
	if left := len(before.gate.asked); left != 0 {
		t.Errorf("%d connections are remembered at the end, want none", left)
	}
}

// The same address and port may be a connection's again once the first has come.
func TestPortsAreUsedAgain(t *testing.T) {
	p, engine := doorRules(t, `rules: [{name: second, every: 2, fault: {refuse: connection}}]`)
	conn, c := commandConn(1)
	if r, _ := p.gate.admit(conn, "shop.test:443"); r != fixtures.RefuseNone {
		t.Fatalf("the first connection is refused: %s", r)
	}
	p.Door(c, "shop.test:443")
	if r, by := p.gate.admit(conn, "shop.test:443"); r != fixtures.RefuseConnection || by != "second" {
		t.Errorf("the second connection = %q by %q, want it refused", r, by)
	}
	if s := engine.Rules()[0]; s.Matched != 2 {
		t.Errorf("the rule matched %d times, want 2", s.Matched)
	}
}

// Connections that never come do not pile up; those under way are kept.
func TestUnclaimedAreBounded(t *testing.T) {
	p, _ := doorRules(t, `rules: [{name: none, chance: 0, fault: {refuse: connection}}]`)
	conn, c := commandConn(1)
	p.gate.admit(conn, "h")
	p.Door(c, "h")
	for i := range uint64(2 * unclaimed) {
		conn, _ := commandConn(2 + i)
		p.gate.admit(conn, "h")
	}
	if n := len(p.gate.asked); n > unclaimed+1 {
		t.Errorf("%d connections are remembered, want at most %d", n, unclaimed+1)
	}
	if number, _, _ := p.gate.arrived(c); number != askedFirst(1) {
		t.Errorf("a connection under way has number %d, want %d", number, askedFirst(1))
	}
}

// What came through another door has its own number there.
func TestOtherDoorsKeepTheirNumbers(t *testing.T) {
	var none *gatekeeper
	if number, r, _ := none.arrived(&wire.Conn{ID: 3, Door: "reverse"}); number != askedAtDoor(3) || r != fixtures.RefuseNone {
		t.Errorf("number %d and %q, want %d and nothing", number, r, askedAtDoor(3))
	}
	none.left(&wire.Conn{Door: doorOfCommand})
}

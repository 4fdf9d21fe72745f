package tunnel

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
)

func classOf(t *testing.T, name string, to ...string) shaping.LinkClass {
	t.Helper()
	c := shaping.LinkClass{Name: name}
	for _, text := range to {
		d, err := shaping.ParseDestination(text)
		if err != nil {
			t.Fatal(err)
		}
		c.To = append(c.To, d)
	}
	return c
}

const user = "198.19.255.2:40000"

func flowTo(peer string) flow {
	return Flow{netip.MustParseAddrPort(user), netip.MustParseAddrPort(peer)}.key()
}

// sorting is the paths of a user, with the names of some addresses.
type sorting struct {
	paths
	t     *testing.T
	asked int
	now   time.Duration
}

func newSorting(t *testing.T) *sorting {
	s := &sorting{t: t}
	s.paths = newPaths(true, func(a netip.Addr) (string, bool) {
		s.asked++
		name, ok := map[string]string{"198.18.0.1": "db.internal", "198.18.0.2": "a.example.com"}[a.String()]
		return name, ok
	})
	return s
}

// has holds which class a packet to a peer is of; flags are TCP's.
func (s *sorting) has(peer, want string, flags byte) {
	s.t.Helper()
	f := &frame{data: packetOf(protoTCP, user, peer, flags)}
	f.parse()
	if got := s.of(f, s.now); got.name != want {
		s.t.Errorf("a packet to %s is of class %q, want %q", peer, got.name, want)
	}
}

func TestPathsByDestination(t *testing.T) {
	s := newSorting(t)
	s.has("198.18.0.1:5432", "", 0)
	if s.asked > 0 {
		t.Error("names are asked for where there are no classes")
	}
	s.set([]shaping.LinkClass{classOf(t, "net", "10.0.0.0/8", "2001:db8::/32"), classOf(t, "db", "db.internal:5432"), classOf(t, "all of it", "*.example.com", "db.internal"), classOf(t, "rules")})
	for peer, want := range map[string]string{
		"10.1.2.3:80": "net", "198.18.0.1:5432": "db", "198.18.0.1:80": "all of it", "198.18.0.2:443": "all of it", "192.0.2.1:5432": "",
	} {
		s.has(peer, want, 0)
	}
	before := s.asked
	for range 3 {
		s.has("198.18.0.1:5432", "db", 0)
	}
	if s.asked != before {
		t.Error("a name is asked for with every packet")
	}
	// The first that has it, in the new order.
	s.set([]shaping.LinkClass{classOf(t, "all of it", "*.example.com", "db.internal"), classOf(t, "db", "db.internal:5432")})
	s.has("198.18.0.1:5432", "all of it", 0)
	s.has("10.1.2.3:80", "", 0)
	s.set(nil)
	s.has("198.18.0.1:5432", "", 0)
}

// What cannot be told apart stays with the link itself, and names that are kept are bounded.
func TestPathsOfOtherPackets(t *testing.T) {
	s := newSorting(t)
	s.set([]shaping.LinkClass{classOf(t, "everything", "*")})
	s.has("192.0.2.1:1", "everything", 0)
	if got := s.of(parsed(nil), 0); got.name != "" {
		t.Errorf("no packet is of class %q", got.name)
	}
	for i := range mostFound + 10 {
		s.has(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), "everything", 0)
	}
	if len(s.found) > mostFound {
		t.Errorf("%d flows are kept, want %d at most", len(s.found), mostFound)
	}
}

func TestPathsOfMovedFlows(t *testing.T) {
	s := newSorting(t)
	classes := []shaping.LinkClass{classOf(t, "db", "db.internal"), classOf(t, "slow"), classOf(t, "slower")}
	s.set(classes)
	if !s.move(flowTo("192.0.2.1:80"), "to come", 0) {
		t.Error("move to a class that comes is false")
	}
	s.has("192.0.2.1:80", "", 0)
	s.set(append([]shaping.LinkClass{classOf(t, "to come")}, classes...))
	s.has("192.0.2.1:80", "to come", 0)
	s.has("198.18.0.1:80", "db", 0)
	if !s.move(flowTo("198.18.0.1:80"), "slow", 0) {
		t.Error("move is false")
	}
	if s.move(flowTo("198.18.0.1:80"), "slow", 0) {
		t.Error("move to where it is is true")
	}
	s.has("198.18.0.1:80", "slow", 0)
	s.has("198.18.0.1:81", "db", 0) // another connection
	s.move(flowTo("198.18.0.1:80"), "slower", 0)
	s.has("198.18.0.1:80", "slower", 0)
	// It stays when other classes come, and what has ended has still to be sent.
	s.set(append([]shaping.LinkClass{classOf(t, "new", "db.internal:81")}, classes...))
	s.end(flowTo("198.18.0.1:80"), 0)
	s.has("198.18.0.1:80", "slower", 0x11)
	s.has("198.18.0.1:81", "new", 0)
	// A new connection from the same port is another one.
	s.has("198.18.0.1:80", "db", flagSYN)
	s.has("198.18.0.1:80", "db", 0)
	// A class that goes lets go of its flows.
	s.move(flowTo("198.18.0.1:80"), "slow", 0)
	s.set(classes[:1])
	s.has("198.18.0.1:80", "db", 0)
	s.set(classes)
	s.has("198.18.0.1:80", "db", 0)
}

// Flows that have ended long ago are forgotten once there are many, and no others.
func TestPathsForget(t *testing.T) {
	s := newSorting(t)
	s.set([]shaping.LinkClass{classOf(t, "slow")})
	peer := func(i int) string { return fmt.Sprintf("10.0.%d.%d:80", i>>8, i&255) }
	for i := range leastSweep {
		s.move(flowTo(peer(i)), "slow", 0)
		if i%2 == 0 {
			s.end(flowTo(peer(i)), 0)
		}
	}
	s.now = lingers
	s.has(peer(0), "slow", 0x10) // it sends again
	s.move(flowTo("192.0.2.1:1"), "slow", lingers+1)
	if got, want := len(s.moved), leastSweep/2+2; got != want {
		t.Errorf("%d flows are known, want %d: those that live, one that was seen lately, and the new one", got, want)
	}
	s.has(peer(0), "slow", 0)
	s.has(peer(1), "slow", 0)
	s.has(peer(2), "", 0)
}

// Packets of a class that is gone still arrive, and one that comes back goes on.
func TestPathsLeave(t *testing.T) {
	s := newSorting(t)
	s.set([]shaping.LinkClass{classOf(t, "a", "*")})
	held := s.class("a")
	held.e.Change(0, shaping.Conditions{Delay: time.Second, Limit: 10}, 1)
	held.e.Put(0, 100, false, piece{})
	s.set([]shaping.LinkClass{classOf(t, "b", "*")})
	s.left()
	if at, ok := s.next(); !ok || at != time.Second {
		t.Errorf("next = %v, %v, want the packet that is held", at, ok)
	}
	s.set([]shaping.LinkClass{classOf(t, "a", "*")})
	if s.class("a") != held {
		t.Error("a class that came back while it held packets is another")
	}
	s.set(nil)
	var seen []string
	s.each(func(one *path) {
		if _, ok := one.e.Take(time.Second); ok {
			seen = append(seen, one.name)
		}
	})
	if strings.Join(seen, " ") != "a" {
		t.Errorf("packets came of %q, want of a", seen)
	}
	s.left()
	if _, ok := s.next(); ok || len(s.leaving) > 0 {
		t.Error("a way that holds nothing is kept")
	}
}

// ICMP is led where probes want it, and nothing else is.
func TestPathsOfProbes(t *testing.T) {
	s := newSorting(t)
	s.set([]shaping.LinkClass{classOf(t, "a", "192.0.2.1"), classOf(t, "b")})
	icmp := parsed(packetOf(protoICMP, user, "192.0.2.1:0", 0))
	for probed, want := range map[string]string{"b": "b", "": "a"} {
		s.probed = s.class(probed)
		if got := s.of(icmp, 0); got.name != want {
			t.Errorf("while %q is probed ICMP is of class %q, want %q", probed, got.name, want)
		}
		s.has("192.0.2.1:80", "a", 0)
	}
}

// BenchmarkPaths is what sorting one packet costs.
func BenchmarkPaths(b *testing.B) {
	p := newPaths(true, nil)
	f := parsed(packetOf(protoTCP, user, "192.0.2.1:80", 0x10))
	for _, n := range []int{0, 1, 20} {
		var classes []shaping.LinkClass
		for i := range n {
			classes = append(classes, shaping.LinkClass{Name: fmt.Sprint(i)})
		}
		p.set(classes)
		b.Run(fmt.Sprintf("classes=%d", n), func(b *testing.B) {
			for b.Loop() {
				p.of(f, 0)
				p.next()
			}
		})
	}
}

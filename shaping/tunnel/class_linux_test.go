package tunnel_test

import (
	"context"
	"encoding/binary"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/tunnel"
)

// class is one by a destination; "" for none.
func class(t testing.TB, name, to, how string) shaping.LinkClass {
	t.Helper()
	c := shaping.LinkClass{Name: name, Link: shaping.Link{Down: spec(t, how), Up: spec(t, how)}}
	if to != "" {
		d, err := shaping.ParseDestination(to)
		if err != nil {
			t.Fatal(err)
		}
		c.To = append(c.To, d)
	}
	return c
}

// Each class has its own delay, by network, by port and IPv6, and what is in none has the
// link's.
func TestRealClasses(t *testing.T) {
	both(t, func(t *testing.T, between bool) {
		for to, want := range map[string]time.Duration{
			"192.0.2.80:80": 60 * time.Millisecond, "192.0.2.80:81": 20 * time.Millisecond, "[2001:db8::80]:80": 100 * time.Millisecond,
			"203.0.113.1:80": 0, "203.0.113.9:80": 20 * time.Millisecond,
		} {
			l := &link{t: t, classes: []shaping.LinkClass{
				class(t, "net", "192.0.2.0/24:80", "delay=30ms"), class(t, "six", "2001:db8::/32", "delay=50ms"), class(t, "near", "203.0.113.1", "")}}
			r := l.over(between, shaping.Link{Down: spec(t, "delay=10ms"), Up: spec(t, "delay=10ms")}, "echo", to, "9")
			r.within(t, to, want)
			if own, _ := l.Counters(); (own[shaping.Down].SentPackets < 9) != (want != 20*time.Millisecond) {
				t.Errorf("%s: the link itself counted %+v", to, own)
			}
		}
	})
}

// A connection that is put into a class goes there from then on, whatever its peer, and
// another to the same peer does not.
func TestRealMove(t *testing.T) {
	both(t, func(t *testing.T, between bool) {
		l := &link{t: t, classes: []shaping.LinkClass{class(t, "all", "*", "delay=5ms"), class(t, "moved", "", "delay=40ms")}}
		r := l.over(between, shaping.Link{}, "moved", address4, "9")
		r.within(t, "moved", 80*time.Millisecond)
		result{Trips: r.Other}.within(t, "another connection", 10*time.Millisecond)
		counted := l.ClassCounters()
		if counted["moved"][shaping.Down].SentPackets < 9 || counted["all"][shaping.Up].SentPackets < 9 {
			t.Errorf("counted %+v", counted)
		}
	})
}

// A class whose queue is full holds up nobody else.
func TestRealRateOfAClass(t *testing.T) {
	both(t, func(t *testing.T, between bool) {
		l := &link{t: t, classes: []shaping.LinkClass{class(t, "narrow", ":81", "rate=2mbit,queue=2s")}}
		t.Setenv("LOAD", "192.0.2.80:81")
		r := l.over(between, shaping.Link{Down: spec(t, "delay=10ms")}, "loaded", address4, "9")
		r.within(t, "beside a full queue", 10*time.Millisecond)
		if c := l.ClassCounters()["narrow"][shaping.Down]; c.SentBytes < 100_000 {
			t.Errorf("narrow counted %+v", c)
		}
	})
}

// A connection's data come whole also where it goes from one class to another while they are
// under way, in super-packets and single ones.
func TestRealDataOfAMovedConnection(t *testing.T) {
	both(t, func(t *testing.T, between bool) {
		for _, peer := range []string{address4, address6} {
			l := &link{t: t, restless: true, classes: []shaping.LinkClass{
				class(t, "near", "", ""), class(t, "far", "", "delay=3ms,loss=0.2%"), class(t, "narrow", "", "rate=200mbit,duplicate=1%,corrupt=0.2%")}}
			r := l.over(between, shaping.Link{}, "source", peer, "8000000")
			if !r.Intact {
				t.Errorf("%s: the data are not whole", peer)
			}
			for name, c := range l.ClassCounters() {
				if c[shaping.Down].SentBytes == 0 {
					t.Errorf("%s: class %s carried %+v", peer, name, c[shaping.Down])
				}
			}
		}
	})
}

// What befalls a class's packets is the same whatever the others carry, and another seed's
// is another.
func TestClassesDecideAlone(t *testing.T) {
	const how = "loss=20%,burst=2,duplicate=10%,corrupt=10%"
	alone := classFates(t, 1, how, "")
	beside := classFates(t, 1, how, "loss=50%,duplicate=50%")
	if !slices.Equal(alone, beside) {
		t.Error("another class's conditions change what befalls a class's packets")
	}
	if slices.Equal(alone, classFates(t, 2, how, "")) {
		t.Error("another seed gives the same")
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(alone)))); n < 3 {
		t.Errorf("packets met %d fates, want several", n)
	}
}

// to is a frame to a peer, padded as Ethernet's are.
func to(peer string) []byte {
	b := make([]byte, sentSize)
	binary.BigEndian.PutUint16(b[22:], 0x0800)
	ip := b[24:]
	ip[0], ip[9] = 0x45, 17
	a := netip.MustParseAddrPort(peer)
	copy(ip[12:], []byte{198, 19, 255, 2})
	copy(ip[16:], a.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip[22:], a.Port())
	return b
}

// classFates sends packets of one class, and of another in between, from the end up, and
// returns how often each of the first came.
func classFates(t *testing.T, seed uint64, how, other string) (fates []string) {
	t.Helper()
	far, down := ends(t)
	near, up := ends(t)
	l, err := tunnel.Open(down, up, func(class string, _ shaping.Direction) uint64 { return seed + uint64(len(class)) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	carry(t, l)
	if err := l.Change(t.Context(), shaping.Link{}, class(t, "a", "192.0.2.1", how), class(t, "other", "192.0.2.2", other)); err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		name, peer := "a", "192.0.2.1:1"
		if i%2 == 1 {
			name, peer = "other", "192.0.2.2:1"
		}
		came := through(t, l, near, far, name, to(peer))
		if name == "a" {
			fates = append(fates, came)
		}
	}
	return fates
}

// through sends a packet of a class and returns what came of it.
func through(t *testing.T, l *tunnel.Link, near, far *os.File, name string, packet []byte) string {
	t.Helper()
	before := l.ClassCounters()[name][shaping.Up]
	if _, err := near.Write(packet); err != nil {
		t.Fatal(err)
	}
	room := make([]byte, 2*sentSize)
	came := ""
	for {
		now := l.ClassCounters()[name][shaping.Up]
		if decided(now) == decided(before) || now.BacklogPackets > 0 {
			runtime.Gosched()
			continue
		}
		for range now.SentPackets - before.SentPackets {
			n, err := far.Read(room)
			if err != nil {
				t.Fatal(err)
			}
			came += string(room[:n])
		}
		return came
	}
}

func TestClassesInForce(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := tunnel.Open(f, f, func(class string, d shaping.Direction) uint64 { return uint64(len(class) + len(d)) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if err := l.Run(ended); err != nil { // gives back what it holds
			t.Error(err)
		}
	}()
	lossy := class(t, "lossy", "192.0.2.1", "loss=1%,burst=2,ecn=true,delay=1s,limit=3")
	if err := l.Change(t.Context(), shaping.Link{}, lossy, class(t, "plain", "", "")); err != nil {
		t.Fatal(err)
	}
	got := l.Classes()
	if len(got) != 2 || got[0].Link.Up.Seed != 7 || got[0].Link.Down.GilbertElliott.LossInBad != 1 || !got[1].Link.IsZero() {
		t.Errorf("Classes = %+v", got)
	}
	if lossy.Link.Up.Seed != 0 {
		t.Error("Change changed the caller's class")
	}
	found := false
	for _, f := range l.Findings() {
		found = found || f.Class == "lossy" && f.Name == "limit" && f.Level == shaping.Warning
	}
	if !found {
		t.Errorf("Findings = %v, want one of the class's limit", l.Findings())
	}
	wrong := class(t, "wrong", "", "")
	wrong.Link.Down.Jitter = 1
	if err := l.Change(t.Context(), shaping.Link{}, wrong); err == nil || err.Error() != "class wrong: down: jitter: want at most the delay, 0s, got 1ns" {
		t.Errorf("Change = %v, want the class's error", err)
	}
	if len(l.Classes()) != 2 {
		t.Error("a change that was refused took classes away")
	}
	if counted := l.ClassCounters(); len(counted) != 2 {
		t.Errorf("ClassCounters = %s", strconv.Quote("of "+strconv.Itoa(len(counted))))
	}
}

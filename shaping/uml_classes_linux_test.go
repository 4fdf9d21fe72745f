package shaping

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/internal/nstest"
	"github.com/understudy-proxy/understudy/internal/umltest"
)

// newDoublePair is newPair with IPv6 and a second address of each family at the far end.
func newDoublePair(t *testing.T) *pair {
	p := newPair(t)
	p.output(p.far, "ip", "addr", "add", "10.9.0.3/24", "dev", "us1")
	nstest.SpeakIPv6(t, p.near, "us0")
	nstest.SpeakIPv6(t, p.far, "us1")
	for _, a := range []struct {
		ns       *os.File
		dev, adr string
	}{{p.near, "us0", "fd09::1/64"}, {p.far, "us1", "fd09::2/64"}, {p.far, "us1", "fd09::3/64"}} {
		p.output(a.ns, "ip", "-6", "addr", "add", a.adr, "dev", a.dev, "nodad")
	}
	for _, far := range []string{"10.9.0.3:0", "[fd09::2]:0", "[fd09::3]:0"} {
		near := "10.9.0.1:0"
		if strings.HasPrefix(far, "[") {
			near = "[fd09::1]:0"
		}
		c := conns{p.listen(p.near, near), p.listen(p.far, far)}
		p.send(c, 3, 64, 0) // neighbours find each other
	}
	return p
}

// Packets have what their destination has, and what has none goes as it is.
func TestGuestClasses(t *testing.T) {
	umltest.Guest(t)
	p := newDoublePair(t)
	classes := classesTo(t, "10.9.0.3,fd09::3/128=delay=60ms", ":7000-7009=loss=40%")
	a, err := Apply(t.Context(), p.target(), Link{}, classes...)
	if err != nil {
		t.Fatalf("Apply = %v", err)
	}
	t.Cleanup(func() {
		if err := a.Restore(); err != nil {
			t.Errorf("Restore = %v", err)
		}
	})
	lease := &Lease{Found: a.found, Classes: leasedClasses(classes)}
	counted := func(d Direction, class int) Counters {
		t.Helper()
		all, err := ShowClasses(p.target(), lease)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			if s.Direction == d && s.Name == classes[class].Name {
				return s.Counters
			}
		}
		t.Fatalf("ShowClasses = %+v, want class %d %s", all, class, d)
		return Counters{}
	}
	const n = 400
	for _, tt := range []struct {
		far   string
		delay time.Duration
		loss  float64
		class int // -1 for none
	}{
		{"10.9.0.2:6999", 0, 0, -1},
		{"10.9.0.2:7010", 0, 0, -1},
		{"[fd09::2]:6999", 0, 0, -1},
		{"[fd09::2]:7010", 0, 0, -1},
		{"10.9.0.3:6999", 60 * time.Millisecond, 0, 0},
		{"[fd09::3]:6999", 60 * time.Millisecond, 0, 0},
		{"10.9.0.3:7003", 60 * time.Millisecond, 0, 0}, // the first class has it
		{"10.9.0.2:7000", 0, 0.4, 1},
		{"10.9.0.2:7009", 0, 0.4, 1},
		{"[fd09::2]:7005", 0, 0.4, 1},
	} {
		near := "10.9.0.1:0"
		if strings.HasPrefix(tt.far, "[") {
			near = "[fd09::1]:0"
		}
		c := conns{p.listen(p.near, near), p.listen(p.far, tt.far)}
		for d, ends := range map[Direction]conns{Up: c, Down: {c.far, c.near}} {
			var before Counters
			if tt.class >= 0 {
				before = counted(d, tt.class)
			}
			got := p.transmit(ends.near, ends.far, n, 64, 500*time.Microsecond, nil)
			lost, took := n-len(got), median(got)
			t.Logf("%s %s: %d of %d lost, %v at the median", tt.far, d, lost, n, took)
			if bound := 5 * math.Sqrt(n*tt.loss*(1-tt.loss)); math.Abs(float64(lost)-n*tt.loss) > bound {
				t.Errorf("%s %s: %d of %d lost, want %.0f ± %.0f", tt.far, d, lost, n, n*tt.loss, bound)
			}
			// A busy host delays its guest: wide, and far from the other.
			if took < tt.delay || took > tt.delay+25*time.Millisecond {
				t.Errorf("%s %s: took %v, want %v", tt.far, d, took, tt.delay)
			}
			if tt.class < 0 {
				continue
			}
			after := counted(d, tt.class)
			if sent, dropped := int(after.SentPackets-before.SentPackets), int(after.Dropped-before.Dropped); dropped != lost || sent < len(got) || sent > len(got)+8 {
				t.Errorf("%s %s: its class has sent %d and dropped %d, want %d and %d", tt.far, d, sent, dropped, len(got), lost)
			}
		}
	}
	p.agreesWithTC(t, a, counted(Up, 1), counted(Down, 0))
}

// agreesWithTC compares with what tc says: handles, conditions, counters and filters.
func (p *pair) agreesWithTC(t *testing.T, a *Applied, lossyUp, slowDown Counters) {
	t.Helper()
	type shown struct {
		Kind, Handle, Parent string
		Root                 bool
		Packets, Drops       uint64
	}
	for dev, want := range map[string]struct {
		handle   string
		counters Counters
	}{"us0": {"7575:", lossyUp}, a.found.IFB: {"7574:", slowDown}} {
		var all []shown
		text := p.output(p.near, "tc", "-s", "-j", "qdisc", "show", "dev", dev)
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		kinds := map[string]string{}
		for _, q := range all {
			kinds[q.Handle] = q.Kind + " " + q.Parent
			if q.Handle == want.handle && (q.Packets != want.counters.SentPackets || q.Drops != want.counters.Dropped) {
				t.Errorf("%s: tc counts %+v, ShowClasses %+v", dev, q, want.counters)
			}
		}
		for handle, kind := range map[string]string{"7573:": "prio ", "7574:": "netem 7573:1", "7575:": "netem 7573:2", "7586:": "pfifo 7573:3"} {
			if kinds[handle] != kind {
				t.Errorf("%s: %s is %q, want %q: %s", dev, handle, kinds[handle], kind, text)
			}
		}
	}
	for dev, offset := range map[string]string{"us0": "16", a.found.IFB: "12"} {
		text := p.output(p.near, "tc", "filter", "show", "dev", dev)
		for _, want := range []string{"match 0a090003/ffffffff at " + offset + "\n", "*flowid 7573:1", "*flowid 7573:2"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %q:\n%s", dev, want, text)
			}
		}
		// An address of each family; 7000-7007 and 7008-7009, TCP and UDP, of each family.
		if n := strings.Count(text, "flowid 7573:"); n != 2+8 {
			t.Errorf("%s has %d filters, want 10:\n%s", dev, n, text)
		}
	}
}

// A change of conditions drops nothing that waits.
func TestGuestClassesChangeInPlace(t *testing.T) {
	umltest.Guest(t)
	p := newDoublePair(t)
	at := func(slow string) []LinkClass {
		return classesTo(t, "10.9.0.3="+slow, "10.9.0.2:7000=none")
	}
	a, err := Apply(t.Context(), p.target(), Link{Up: mustParse(t, "delay=200ms")}, at("delay=300ms")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Restore() })
	for _, far := range []string{"10.9.0.3:6000", "10.9.0.2:6000", "10.9.0.2:7000"} {
		c := conns{p.listen(p.near, "10.9.0.1:0"), p.listen(p.far, far)}
		got := p.transmit(c.near, c.far, 40, 64, time.Millisecond, func() {
			if err := a.Change(t.Context(), Link{Up: mustParse(t, "delay=210ms")}, at("delay=310ms")...); err != nil {
				t.Errorf("Change = %v", err)
			}
		})
		if len(got) != 40 {
			t.Errorf("%s: %d of 40 packets came over a change", far, len(got))
		}
		_ = c.far.Close()
	}
	if err := a.Change(t.Context(), Link{}, at("none")...); err != nil {
		t.Errorf("Change to nothing = %v", err)
	}
	other := classesTo(t, "10.9.0.3=delay=1ms", "10.9.0.2:7001=delay=1ms")
	if err := a.Change(t.Context(), Link{}, other...); err == nil || !strings.Contains(err.Error(), "classes were others") {
		t.Errorf("Change of destinations = %v, want it refused", err)
	}
	// A class that had none gets its first conditions.
	first := at("delay=1ms")
	first[1].Link = Link{Up: mustParse(t, "loss=100%")}
	if err := a.Change(t.Context(), Link{}, first...); err != nil {
		t.Fatalf("Change = %v", err)
	}
	c := conns{p.listen(p.near, "10.9.0.1:0"), p.listen(p.far, "10.9.0.2:7000")}
	if got := p.send(c, 20, 64, 0); len(got) != 0 {
		t.Errorf("%d of 20 packets came through a loss of 100%%", len(got))
	}
}

// As many as there can be, and what differs is told.
func TestGuestClassesReadBack(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	var texts []string
	for i := range mostBands - 1 {
		texts = append(texts, ":"+string(rune('1'+i%9))+"00"+string(rune('0'+i/9))+"-65534=delay=1ms")
	}
	before := p.state()
	a, err := Apply(t.Context(), p.target(), Link{Down: mustParse(t, "loss=1%")}, classesTo(t, texts...)...)
	if err != nil {
		t.Fatalf("Apply = %v", err)
	}
	index := a.ends[Up].index
	asked := func() (all []classFilter) {
		for i := range a.classes {
			for _, f := range a.classes[i].To[0].filters(Up) {
				all = append(all, classFilter{i, f})
			}
		}
		return all
	}()
	if err := a.conn.compareFilters(index, asked); err != nil {
		t.Errorf("compareFilters = %v", err)
	}
	if err := a.conn.compareFilters(index, asked[1:]); err == nil || !strings.Contains(err.Error(), "nobody asked for") {
		t.Errorf("compareFilters of one less = %v", err)
	}
	p.output(p.near, "tc", "filter", "del", "dev", "us0", "parent", "7573:", "pref", "1", "protocol", "ip")
	if err := a.conn.compareFilters(index, asked); err == nil || !strings.Contains(err.Error(), "asked for the filter pref 1 to 7573:1: ip match") {
		t.Errorf("compareFilters of what was taken off = %v", err)
	}
	if err := a.Restore(); err != nil {
		t.Error(err)
	}
	if now := p.state(); now != before {
		t.Errorf("after Restore there is\n%swant\n%s", now, before)
	}
}
